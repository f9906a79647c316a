// Non-overlapping 2x2 max-pooling that remembers which of the four was the largest, and its gradient.
//
// Rows are short, often no longer than a vector. So as much as possible is done in loops over the pixels of the result,
// regardless of rows; full-size rows pass through a buffer that stays in the cache.

#include <algorithm>
#include <cstring>

namespace max_pool {

constexpr npy_intp BUFFER = 2048;

// Some pairs of rows, in them 2 * columns elements from 2 * first_column on. There are several pairs only if these are
// whole rows.
struct Block {
    npy_intp first_pair, pairs, first_column, columns;
};

struct Geometry {
    npy_intp planes, rows, columns;  // a plane: of one image and channel. An odd last row or column is ignored.

    npy_intp out_rows() const { return rows / 2; }
    npy_intp out_columns() const { return columns / 2; }
    // Where they begin in the array of full size, and in that of the result.
    npy_intp upper(const Block& block, npy_intp pair) const {
        const npy_intp number = block.first_pair + pair;
        return (number / out_rows() * rows + number % out_rows() * 2) * columns + 2 * block.first_column;
    }
    npy_intp result(const Block& block) const { return block.first_pair * out_columns() + block.first_column; }

    // Calls task(block) for blocks of at most BUFFER elements of upper rows, which cover the result.
    template <typename Task> void for_each_block(const Task& task) const {
        const npy_intp pairs = planes * out_rows();
        if (!pairs || !out_columns())
            return;
        const npy_intp width = std::min(out_columns(), BUFFER / 2), height = BUFFER / 2 / width;
        const npy_intp across = (out_columns() + width - 1) / width;
        const npy_intp step = across == 1 ? height : 1, down = (pairs + step - 1) / step;
        #pragma omp parallel for schedule(static) if (down * across > 64)
        for (npy_intp number = 0; number < down * across; ++number) {
            const npy_intp pair = number / across * step, column = number % across * width;
            task(Block{pair, std::min(step, pairs - pair), column, std::min(width, out_columns() - column)});
        }
    }
};

// Most rows have a multiple of 4 elements.
template <typename T> struct Four {
    typedef T vector __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
};

// Of each column of two rows, the larger element (or a NaN), and 2 where it is the lower one.
template <typename T>
inline void larger_of_rows(npy_intp length, const T* upper, const T* lower, T* larger, T* which) {
    typedef typename Four<T>::vector Vector;
    npy_intp i = 0;
    for (; i + 4 <= length; i += 4) {
        const Vector above = *(const Vector*)(upper + i), below = *(const Vector*)(lower + i), zero = {};
        const auto is_below = (below > above) | (below != below);
        *(Vector*)(larger + i) = is_below ? below : above;
        *(Vector*)(which + i) = is_below ? zero + 2 : zero;
    }
    for (; i < length; ++i) {
        const bool is_below = (lower[i] > upper[i]) | (lower[i] != lower[i]);
        larger[i] = is_below ? lower[i] : upper[i];
        which[i] = is_below ? 2 : 0;
    }
}

template <typename T> inline void copy(npy_intp length, const T* from, T* to) {
    npy_intp i = 0;
    for (; i + 4 <= length; i += 4)
        std::memcpy(to + i, from + i, 4 * sizeof(T));
    for (; i < length; ++i)
        to[i] = from[i];
}

template <typename T> void forward(const Geometry& g, const T* x, T* largest, npy_uint8* which) {
    g.for_each_block([&](const Block& block) {
        T larger[BUFFER], row[BUFFER];
        const npy_intp width = 2 * block.columns, size = block.pairs * block.columns;
        for (npy_intp pair = 0; pair < block.pairs; ++pair) {
            const T* upper = x + g.upper(block, pair);
            larger_of_rows(width, upper, upper + g.columns, larger + pair * width, row + pair * width);
        }
        T* __restrict__ to = largest + g.result(block);
        npy_uint8* __restrict__ to_which = which + g.result(block);
        for (npy_intp i = 0; i < size; ++i) {
            const T left = larger[2 * i], right = larger[2 * i + 1], left_row = row[2 * i], right_row = row[2 * i + 1];
            // Of equal ones, the first row by row; NaN rather than a number.
            const bool is_right = (right > left) | (right != right) | ((right == left) & (right_row < left_row));
            to[i] = is_right ? right : left;
            to_which[i] = npy_uint8(int(is_right ? right_row + 1 : left_row));
        }
    });
}

template <typename T> void backward(const Geometry& g, const npy_uint8* which, const T* gradient, T* dx) {
    g.for_each_block([&](const Block& block) {
        T upper[BUFFER], lower[BUFFER];
        const npy_intp width = 2 * block.columns, size = block.pairs * block.columns;
        const T* __restrict__ from = gradient + g.result(block);
        const npy_uint8* __restrict__ from_which = which + g.result(block);
        for (npy_intp i = 0; i < size; ++i) {
            const bool is_right = from_which[i] & 1, is_lower = from_which[i] & 2;
            const T left = is_right ? T(0) : from[i], right = is_right ? from[i] : T(0);
            upper[2 * i] = is_lower ? T(0) : left;
            upper[2 * i + 1] = is_lower ? T(0) : right;
            lower[2 * i] = is_lower ? left : T(0);
            lower[2 * i + 1] = is_lower ? right : T(0);
        }
        for (npy_intp pair = 0; pair < block.pairs; ++pair) {
            T* to = dx + g.upper(block, pair);
            copy(width, upper + pair * width, to);
            copy(width, lower + pair * width, to + g.columns);
        }
    });
    // What the blocks leave out.
    for (npy_intp plane = 0; plane < g.planes; ++plane) {
        T* to = dx + plane * g.rows * g.columns;
        if (g.columns % 2)
            for (npy_intp row = 0; row < g.rows; ++row)
                to[(row + 1) * g.columns - 1] = 0;
        if (g.rows % 2)
            std::fill(to + (g.rows - 1) * g.columns, to + g.rows * g.columns, T(0));
    }
}

// What c_code calls; false with a Python exception set.
template <typename T> bool run_forward(PyArrayObject* x, PyArrayObject** largest, PyArrayObject** which) {
    Contiguous cx(x);
    if (!cx.array)
        return false;
    const npy_intp shape[] = {cx.length(0), cx.length(1), cx.length(2) / 2, cx.length(3) / 2};
    if (!prepare_output(largest, 4, shape, PyArray_TYPE(x)) || !prepare_output(which, 4, shape, NPY_UINT8))
        return false;
    forward(Geometry{cx.length(0) * cx.length(1), cx.length(2), cx.length(3)}, (const T*)cx.data(),
            (T*)PyArray_DATA(*largest), (npy_uint8*)PyArray_DATA(*which));
    return true;
}

template <typename T>
bool run_backward(PyArrayObject* x, PyArrayObject* which, PyArrayObject* g, PyArrayObject** dx) {
    Contiguous cw(which), cg(g);
    if (!cw.array || !cg.array)
        return false;
    const npy_intp* full = PyArray_DIMS(x);
    const npy_intp shape[] = {full[0], full[1], full[2] / 2, full[3] / 2};
    if (!PyArray_CompareLists(PyArray_DIMS(cg.array), shape, 4)
        || !PyArray_CompareLists(PyArray_DIMS(cw.array), shape, 4)) {
        PyErr_Format(PyExc_ValueError, "max_pool_2x2: the gradient is not of the result's shape (%zd, %zd, %zd, %zd)",
                     shape[0], shape[1], shape[2], shape[3]);
        return false;
    }
    if (!prepare_output(dx, 4, full, PyArray_TYPE(x)))
        return false;
    backward(Geometry{full[0] * full[1], full[2], full[3]}, (const npy_uint8*)cw.data(), (const T*)cg.data(),
             (T*)PyArray_DATA(*dx));
    return true;
}

}  // namespace max_pool
