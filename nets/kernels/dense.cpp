// Two products of matrices at once, mean = x w and variance = x^2 v, and their gradients; or the first of them alone,
// where the pointers to the second's arrays are NULL.
//
// One matrix is packed whole, by rows; panels of the other are packed by the thread that needs them, into its cache.
// The results do not depend on the number of threads.

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace dense {

using namespace tiles;

// Fewer multiplications take less than the wait for a thread.
constexpr npy_intp WORTH_SHARING = 1 << 18;

// Element (i, j) is data[i * row_stride + j * column_stride]; one of the strides is 1.
template <typename T> struct Matrix {
    const T* data;
    npy_intp row_stride, column_stride;
};

// c = (packed a) b, or (packed scaled_a) scaled_b * 2 factors, element by element, + (packed a) b.
template <typename T> struct Product {
    const T* a;
    Matrix<T> b;
    T* c;
    const T* scaled_a;  // NULL for the first form
    Matrix<T> scaled_b;
    const T* factors;
};

// Columns first ... first + PANEL - 1 of a matrix, with zeros beyond the last.
template <typename T>
void copy_panel(const Matrix<T>& matrix, npy_intp depth, npy_intp columns, npy_intp first, T* to) {
    constexpr int PANEL = Lanes<T>::PANEL, BLOCK = 16;
    const int width = int(std::min<npy_intp>(PANEL, columns - first));
    const T* from = matrix.data + first * matrix.column_stride;
    if (width < PANEL)
        std::memset(to, 0, depth * PANEL * sizeof(T));
    if (matrix.column_stride == 1) {
        for (npy_intp step = 0; step < depth; ++step)
            if (width == PANEL)
                std::memcpy(to + step * PANEL, from + step * matrix.row_stride, PANEL * sizeof(T));
            else
                std::memcpy(to + step * PANEL, from + step * matrix.row_stride, width * sizeof(T));
        return;
    }
    for (npy_intp begin = 0; begin < depth; begin += BLOCK) {
        const npy_intp end = std::min(begin + BLOCK, depth);
        for (int column = 0; column < width; ++column)
            for (npy_intp step = begin; step < end; ++step)
                to[step * PANEL + column] = from[step * matrix.row_stride + column * matrix.column_stride];
    }
}

template <typename T> struct Workspace {
    Array<T> b, scaled_b, tile, factors;
    explicit Workspace(npy_intp depth)
        : b(depth * Lanes<T>::PANEL), scaled_b(depth * Lanes<T>::PANEL), tile(TILE_ROWS * Lanes<T>::PANEL),
          factors(TILE_ROWS * Lanes<T>::PANEL) {}
};

template <typename T, int ROWS, int HALVES>
void multiply_tile(const Product<T>& product, npy_intp row, npy_intp depth, npy_intp columns, npy_intp first,
                   Workspace<T>& space) {
    constexpr int PANEL = Lanes<T>::PANEL;
    const size_t width = std::min<npy_intp>(PANEL, columns - first) * sizeof(T);
    const npy_intp position = row * columns + first;
    Tile<T, ROWS, HALVES> sums;
    sums.clear();
    if (product.scaled_a) {
        for (int i = 0; i < ROWS; ++i)
            std::memcpy(space.factors + i * PANEL, product.factors + position + i * columns, width);
        sums.template add_product<1, ROWS>(depth, product.scaled_a + row * depth, space.scaled_b);
        sums.times_twice(space.factors);
    }
    sums.template add_product<1, ROWS>(depth, product.a + row * depth, space.b);
    if (width == PANEL * sizeof(T))
        return sums.write(product.c + position, columns);
    sums.write(space.tile, PANEL);
    for (int i = 0; i < ROWS; ++i)
        std::memcpy(product.c + position + i * columns, space.tile + i * PANEL, width);
}

inline int number_of_threads(npy_intp multiplications, npy_intp items) {
#ifdef _OPENMP
    if (multiplications > WORTH_SHARING)
        return int(std::max<npy_intp>(1, std::min<npy_intp>(omp_get_max_threads(), items)));
#endif
    return 1;
}

// Products of the same shape: tiles.rows x depth by depth x columns.
template <typename T>
void multiply(const Tiles& tiles, npy_intp depth, npy_intp columns, const std::vector<Product<T>>& products) {
    constexpr int PANEL = Lanes<T>::PANEL;
    const npy_intp panels = ceil_div(columns, PANEL), items = products.size() * panels * tiles.count;
    const int threads = number_of_threads(tiles.rows * depth * columns, items);
    std::vector<Workspace<T>> workspaces;
    workspaces.reserve(threads);
    for (int thread = 0; thread < threads; ++thread)
        workspaces.emplace_back(depth);

    #pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; ++thread) {
        Workspace<T>& space = workspaces[thread];
        npy_intp present = -1;
        for (npy_intp item = thread * items / threads; item < (thread + 1) * items / threads; ++item) {
            const npy_intp panel = item / tiles.count, tile = item % tiles.count;
            const Product<T>& product = products[panel / panels];
            const npy_intp first = panel % panels * PANEL;
            if (panel != present) {
                copy_panel(product.b, depth, columns, first, (T*)space.b);
                if (product.scaled_a)
                    copy_panel(product.scaled_b, depth, columns, first, (T*)space.scaled_b);
                present = panel;
            }
            with_rows(tiles.size(tile), [&](auto rows) {
                if (columns - first > Lanes<T>::COUNT)
                    multiply_tile<T, rows, 2>(product, tiles.begin(tile), depth, columns, first, space);
                else
                    multiply_tile<T, rows, 1>(product, tiles.begin(tile), depth, columns, first, space);
            });
        }
    }
}

template <typename T> void square(const T* __restrict__ values, npy_intp size, T* __restrict__ squares) {
    for (npy_intp i = 0; i < size; ++i)
        squares[i] = values[i] * values[i];
}

struct Shape {
    npy_intp images, inputs, units;
};

template <typename T> void forward(const Shape& s, const T* x, const T* w, const T* v, T* mean, T* variance) {
    const Tiles tiles(s.images);
    const npy_intp size = s.images * s.inputs;
    Array<T> packed(size), squares(v ? size : 0);
    pack(tiles, s.inputs, x, s.inputs, 1, (T*)packed);
    std::vector<Product<T>> products{{packed, {w, s.units, 1}, mean}};
    if (v) {
        square((const T*)packed, size, (T*)squares);
        products.push_back({squares, {v, s.units, 1}, variance});
    }
    multiply(tiles, s.inputs, s.units, products);
}

// dx is NULL where nobody asks for it; v, g_variance and dv are where there is one product only.
template <typename T>
void backward(const Shape& s, const T* x, const T* w, const T* v, const T* g_mean, const T* g_variance, T* dx, T* dw,
              T* dv) {
    const npy_intp size = s.images * s.inputs;
    {
        const Tiles tiles(s.inputs);
        Array<T> packed(size), squares(v ? size : 0);
        pack(tiles, s.images, x, 1, s.inputs, (T*)packed);
        std::vector<Product<T>> products{{packed, {g_mean, s.units, 1}, dw}};
        if (v) {
            square((const T*)packed, size, (T*)squares);
            products.push_back({squares, {g_variance, s.units, 1}, dv});
        }
        multiply(tiles, s.images, s.units, products);
    }
    if (dx) {
        const Tiles tiles(s.images);
        Array<T> packed(s.images * s.units), packed_variance(v ? s.images * s.units : 0);
        pack(tiles, s.units, g_mean, s.units, 1, (T*)packed);
        Product<T> product{packed, {w, 1, s.units}, dx};
        if (v) {
            pack(tiles, s.units, g_variance, s.units, 1, (T*)packed_variance);
            product.scaled_a = packed_variance;
            product.scaled_b = {v, 1, s.units};
            product.factors = x;
        }
        multiply(tiles, s.units, s.inputs, std::vector<Product<T>>{product});
    }
}

// The shapes of the operands; false, and a ValueError, if they do not fit.
static bool shape(const Contiguous& x, const Contiguous& w, const Contiguous& v, Shape* s) {
    *s = {x.length(0), x.length(1), w.length(1)};
    const bool fits = w.length(0) == s->inputs && PyArray_SAMESHAPE(w.array, v.array);
    if (!fits)
        PyErr_Format(PyExc_ValueError, "product: inputs (%zd, %zd) do not fit weights (%zd, %zd) and (%zd, %zd)",
                     x.length(0), x.length(1), w.length(0), w.length(1), v.length(0), v.length(1));
    return fits;
}

// What c_code calls; false with a Python exception set.
template <typename T>
bool run_forward(PyArrayObject* x, PyArrayObject* w, PyArrayObject* v, PyArrayObject** mean,
                 PyArrayObject** variance) {
    Contiguous cx(x), cw(w), cv(v ? v : w);
    Shape s;
    if (!cx.array || !cw.array || !cv.array || !shape(cx, cw, cv, &s))
        return false;
    const npy_intp result[] = {s.images, s.units};
    if (!prepare_output(mean, 2, result, PyArray_TYPE(x))
        || (variance && !prepare_output(variance, 2, result, PyArray_TYPE(x))))
        return false;
    return with_memory([&] {
        forward<T>(s, (const T*)cx.data(), (const T*)cw.data(), v ? (const T*)cv.data() : NULL,
                   (T*)PyArray_DATA(*mean), variance ? (T*)PyArray_DATA(*variance) : NULL);
    });
}

template <typename T>
bool run_backward(PyArrayObject* x, PyArrayObject* w, PyArrayObject* v, PyArrayObject* g_mean,
                  PyArrayObject* g_variance, PyArrayObject** dx, PyArrayObject** dw, PyArrayObject** dv) {
    Contiguous cx(x), cw(w), cv(v ? v : w), cm(g_mean), cs(v ? g_variance : g_mean);
    Shape s;
    if (!cx.array || !cw.array || !cv.array || !cm.array || !cs.array || !shape(cx, cw, cv, &s)
        || !same_shape(cm, cs))
        return false;
    if (cm.length(0) != s.images || cm.length(1) != s.units) {
        PyErr_Format(PyExc_ValueError, "product: gradients (%zd, %zd) are not of the result's shape (%zd, %zd)",
                     cm.length(0), cm.length(1), s.images, s.units);
        return false;
    }
    if ((dx && !prepare_output(dx, 2, PyArray_DIMS(x), PyArray_TYPE(x)))
        || !prepare_output(dw, 2, PyArray_DIMS(w), PyArray_TYPE(x))
        || (v && !prepare_output(dv, 2, PyArray_DIMS(w), PyArray_TYPE(x))))
        return false;
    return with_memory([&] {
        backward<T>(s, (const T*)cx.data(), (const T*)cw.data(), v ? (const T*)cv.data() : NULL,
                    (const T*)cm.data(), (const T*)cs.data(), dx ? (T*)PyArray_DATA(*dx) : NULL,
                    (T*)PyArray_DATA(*dw), v ? (T*)PyArray_DATA(*dv) : NULL);
    });
}

}  // namespace dense
