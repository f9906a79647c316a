// A sequence through an LSTM, forwards and back.
//
// Sequences do not depend on each other: blocks of them go through all of their steps at once, each by one thread. Blocks
// depend on the number of sequences alone, and so do the results. Only the gradient to the weights is a sum over all.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

namespace lstm {

using namespace tiles;

// Steps of all sequences whose products are added to the gradient to the weights at a time: they stay in the cache.
constexpr npy_intp CHUNK = 256;

// w[step * row_stride + column * column_stride], depth x columns, in panels; zeros beyond the last column.
template <typename T> struct Panels {
    static constexpr int PANEL = Lanes<T>::PANEL;
    npy_intp depth, columns, count;
    Array<T> data;
    Panels(npy_intp depth, npy_intp columns)
        : depth(depth), columns(columns), count(ceil_div(columns, PANEL)), data(count * depth * PANEL) {}
    npy_intp stride() const { return count * PANEL; }
    void fill(const T* w, npy_intp row_stride, npy_intp column_stride) {
        T* to = data;
        for (npy_intp panel = 0; panel < count; ++panel)
            for (npy_intp step = 0; step < depth; ++step)
                for (npy_intp column = panel * PANEL; column < (panel + 1) * PANEL; ++column)
                    *to++ = column < columns ? w[step * row_stride + column * column_stride] : T(0);
    }
    // to[row * stride() + column] = the packed rows times w.
    void multiply(const Tiles& rows, const T* packed, T* to) const {
        for (npy_intp panel = 0; panel < count; ++panel)
            for (npy_intp tile = 0; tile < rows.count; ++tile)
                with_rows(rows.size(tile), [&](auto size) {
                    Tile<T, size> sums;
                    sums.clear();
                    sums.template add_product<1, size>(depth, packed + rows.begin(tile) * depth,
                                                       data + panel * depth * PANEL);
                    sums.write(to + rows.begin(tile) * stride() + panel * PANEL, stride());
                });
    }
};

template <typename T> inline T tanh_of(T x) { return 1 - 2 / (1 + std::exp(2 * x)); }

template <bool HARD, typename T> inline T gate(T x) {
    if (!HARD)
        return 1 / (1 + std::exp(-x));
    const T line = T(0.2) * x + T(0.5);
    return line < 0 ? T(0) : line > 1 ? T(1) : line;    // NaN stays
}

template <bool HARD, typename T> inline T gate_slope(T value) {
    return HARD ? (value > 0 && value < 1 ? T(0.2) : T(0)) : value * (1 - value);
}

struct Shape {
    npy_intp batch, steps, units;
};

// Blocks of sequences: a few tiles of them.
struct Blocks {
    npy_intp batch, count;
    explicit Blocks(npy_intp batch) : batch(batch), count(ceil_div(batch, 4 * TILE_ROWS)) {}
    npy_intp begin(npy_intp block) const { return block * batch / count; }
};

// What both directions have; mask, z_gates and z_outputs are NULL where there are none. Arrays by sequence and step.
template <typename T> struct Operands {
    const T *w, *h0, *c0, *mask, *z_gates, *z_outputs;
};

// One step of one sequence: x and product, of 4 units, are what is added up to the pre-activations.
template <bool HARD, bool SCALED, typename T>
void step_forward(npy_intp units, const T* __restrict__ x, const T* __restrict__ product, const T* __restrict__ z_gates,
                  const T* __restrict__ z_outputs, const T* __restrict__ c_before, T* __restrict__ gates,
                  T* __restrict__ c, T* __restrict__ h) {
    for (npy_intp k = 0; k < 2 * units; ++k)
        gates[k] = gate<HARD>(x[k] + (SCALED ? z_gates[k] * product[k] : product[k]));
    for (npy_intp k = 2 * units; k < 3 * units; ++k)
        gates[k] = tanh_of(x[k] + (SCALED ? z_gates[k] * product[k] : product[k]));
    for (npy_intp k = 3 * units; k < 4 * units; ++k)
        gates[k] = gate<HARD>(x[k] + (SCALED ? z_gates[k] * product[k] : product[k]));
    for (npy_intp k = 0; k < units; ++k) {
        const T cell = gates[units + k] * c_before[k] + gates[k] * gates[2 * units + k];
        const T output = gates[3 * units + k] * tanh_of(cell);
        c[k] = cell;
        h[k] = SCALED ? output * z_outputs[k] : output;
    }
}

template <bool HARD, bool SCALED, typename T>
void forward(const Shape& s, const Operands<T>& o, const T* x, T* h, T* c, T* gates, T* products) {
    const npy_intp units = s.units, wide = 4 * units;
    Panels<T> panels(units, wide);
    panels.fill(o.w, wide, 1);
    const Blocks blocks(s.batch);
    const npy_intp most = ceil_div(s.batch, std::max<npy_intp>(blocks.count, 1));
    std::vector<Array<T>> packed, sums;
    for (npy_intp block = 0; block < blocks.count; ++block) {
        packed.emplace_back(most * units);
        sums.emplace_back(most * panels.stride());
    }
    #pragma omp parallel for schedule(static) if (blocks.count > 1)
    for (npy_intp block = 0; block < blocks.count; ++block) {
        const npy_intp first = blocks.begin(block), number = blocks.begin(block + 1) - first;
        const Tiles rows(number);
        for (npy_intp step = 0; step < s.steps; ++step) {
            const T* before = step ? h + (first * s.steps + step - 1) * units : o.h0 + first * units;
            const npy_intp between = step ? s.steps * units : units;
            pack(rows, units, before, between, 1, (T*)packed[block]);
            panels.multiply(rows, packed[block], sums[block]);
            for (npy_intp row = 0; row < number; ++row) {
                const npy_intp sequence = first + row, at = sequence * s.steps + step;
                const T* product = sums[block] + row * panels.stride();
                const T* c_before = step ? c + (at - 1) * units : o.c0 + sequence * units;
                const T* h_before = before + row * between;
                step_forward<HARD, SCALED>(units, x + at * wide, product, SCALED ? o.z_gates + sequence * wide : NULL,
                                           SCALED ? o.z_outputs + sequence * units : NULL, c_before, gates + at * wide,
                                           c + at * units, h + at * units);
                if (SCALED)
                    std::memcpy(products + at * wide, product, wide * sizeof(T));
                if (o.mask && o.mask[at] == 0) {
                    std::memcpy(c + at * units, c_before, units * sizeof(T));
                    std::memcpy(h + at * units, h_before, units * sizeof(T));
                }
            }
        }
    }
}

// d_h and d_c: in, the gradients to what this step gives; out, that of the step before, but for the product.
template <bool HARD, bool SCALED, typename T>
void step_backward(npy_intp units, const T* __restrict__ gates, const T* __restrict__ c, const T* __restrict__ c_before,
                   const T* __restrict__ product, const T* __restrict__ z_gates, const T* __restrict__ z_outputs,
                   T* __restrict__ d_h, T* __restrict__ d_c, T* __restrict__ d_x, T* __restrict__ d_product,
                   T* __restrict__ d_z_gates, T* __restrict__ d_z_outputs) {
    for (npy_intp k = 0; k < units; ++k) {
        const T in = gates[k], forget = gates[units + k], candidate = gates[2 * units + k], out = gates[3 * units + k];
        const T squashed = tanh_of(c[k]);
        const T to_output = SCALED ? d_h[k] * z_outputs[k] : d_h[k];
        if (SCALED)
            d_z_outputs[k] += d_h[k] * out * squashed;
        const T to_cell = d_c[k] + to_output * out * (1 - squashed * squashed);
        d_x[k] = to_cell * candidate * gate_slope<HARD>(in);
        d_x[units + k] = to_cell * c_before[k] * gate_slope<HARD>(forget);
        d_x[2 * units + k] = to_cell * in * (1 - candidate * candidate);
        d_x[3 * units + k] = to_output * squashed * gate_slope<HARD>(out);
        d_c[k] = to_cell * forget;
        d_h[k] = 0;
    }
    if (SCALED)
        for (npy_intp k = 0; k < 4 * units; ++k) {
            d_z_gates[k] += d_x[k] * product[k];
            d_product[k] = d_x[k] * z_gates[k];
        }
}

// d_w, the sum over all sequences and steps of the state before, transposed, times d_products.
template <typename T>
void weights_gradient(const Shape& s, const T* h0, const T* h, const T* d_products, T* d_w) {
    constexpr int PANEL = Lanes<T>::PANEL;
    const npy_intp units = s.units, wide = 4 * units, all = s.batch * s.steps, panels = ceil_div(wide, PANEL);
    const Tiles rows(units);
    const npy_intp chunks = ceil_div(all, CHUNK);
    Array<T> packed(all * units);
    const auto before = [&](npy_intp at) { return at % s.steps ? h + (at - 1) * units : h0 + at / s.steps * units; };
    #pragma omp parallel for schedule(static) if (chunks > 1)
    for (npy_intp chunk = 0; chunk < chunks; ++chunk) {
        const npy_intp begin = chunk * CHUNK, end = std::min(begin + CHUNK, all);
        for (npy_intp tile = 0; tile < rows.count; ++tile) {
            T* to = packed + begin * units + rows.begin(tile) * (end - begin);
            for (npy_intp at = begin; at < end; ++at, to += rows.size(tile))
                std::memcpy(to, before(at) + rows.begin(tile), rows.size(tile) * sizeof(T));
        }
    }
    std::memset(d_w, 0, units * wide * sizeof(T));
    std::vector<Array<T>> spaces;
    for (npy_intp panel = 0; panel < panels; ++panel)
        spaces.emplace_back((CHUNK + TILE_ROWS) * PANEL);
    #pragma omp parallel for schedule(static) if (chunks > 1)
    for (npy_intp panel = 0; panel < panels; ++panel) {
        T* const own = spaces[panel];
        T* const part = own + CHUNK * PANEL;
        const npy_intp first = panel * PANEL, width = std::min<npy_intp>(PANEL, wide - first);
        for (npy_intp chunk = 0; chunk < chunks; ++chunk) {
            const npy_intp begin = chunk * CHUNK, length = std::min(begin + CHUNK, all) - begin;
            for (npy_intp at = 0; at < length; ++at) {
                std::memset(own + at * PANEL, 0, PANEL * sizeof(T));
                std::memcpy(own + at * PANEL, d_products + (begin + at) * wide + first, width * sizeof(T));
            }
            for (npy_intp tile = 0; tile < rows.count; ++tile)
                with_rows(rows.size(tile), [&](auto size) {
                    Tile<T, size> sums;
                    sums.clear();
                    sums.template add_product<1, size>(length, packed + begin * units + rows.begin(tile) * length, own);
                    sums.write(part, PANEL);
                    for (int row = 0; row < size; ++row) {
                        T* to = d_w + (rows.begin(tile) + row) * wide + first;
                        for (npy_intp column = 0; column < width; ++column)
                            to[column] += part[row * PANEL + column];
                    }
                });
        }
    }
}

template <bool HARD, bool SCALED, typename T>
void backward(const Shape& s, const Operands<T>& o, const T* h, const T* c, const T* gates, const T* products,
              const T* d_h, T* d_x, T* d_w, T* d_h0, T* d_c0, T* d_z_gates, T* d_z_outputs) {
    const npy_intp units = s.units, wide = 4 * units;
    Panels<T> panels(wide, units);
    panels.fill(o.w, 1, wide);
    const Blocks blocks(s.batch);
    const npy_intp most = ceil_div(s.batch, std::max<npy_intp>(blocks.count, 1));
    std::vector<Array<T>> packed, sums;
    for (npy_intp block = 0; block < blocks.count; ++block) {
        packed.emplace_back(most * wide);
        sums.emplace_back(most * panels.stride());
    }
    Array<T> scaled(SCALED ? s.batch * s.steps * wide : 0);
    T* const d_products = SCALED ? (T*)scaled : d_x;
    std::memset(d_h0, 0, s.batch * units * sizeof(T));
    std::memset(d_c0, 0, s.batch * units * sizeof(T));
    if (SCALED) {
        std::memset(d_z_gates, 0, s.batch * wide * sizeof(T));
        std::memset(d_z_outputs, 0, s.batch * units * sizeof(T));
    }
    #pragma omp parallel for schedule(static) if (blocks.count > 1)
    for (npy_intp block = 0; block < blocks.count; ++block) {
        const npy_intp first = blocks.begin(block), number = blocks.begin(block + 1) - first;
        const Tiles rows(number);
        for (npy_intp step = s.steps - 1; step >= 0; --step) {
            for (npy_intp row = 0; row < number; ++row) {
                const npy_intp sequence = first + row, at = sequence * s.steps + step;
                T* const to_h = d_h0 + sequence * units;
                for (npy_intp k = 0; k < units; ++k)
                    to_h[k] += d_h[at * units + k];
                if (o.mask && o.mask[at] == 0) {
                    std::memset(d_x + at * wide, 0, wide * sizeof(T));
                    if (SCALED)
                        std::memset(d_products + at * wide, 0, wide * sizeof(T));
                    continue;
                }
                step_backward<HARD, SCALED>(
                    units, gates + at * wide, c + at * units, step ? c + (at - 1) * units : o.c0 + sequence * units,
                    SCALED ? products + at * wide : NULL, SCALED ? o.z_gates + sequence * wide : NULL,
                    SCALED ? o.z_outputs + sequence * units : NULL, to_h, d_c0 + sequence * units, d_x + at * wide,
                    d_products + at * wide, SCALED ? d_z_gates + sequence * wide : NULL,
                    SCALED ? d_z_outputs + sequence * units : NULL);
            }
            pack(rows, wide, d_products + (first * s.steps + step) * wide, s.steps * wide, 1, (T*)packed[block]);
            panels.multiply(rows, packed[block], sums[block]);
            for (npy_intp row = 0; row < number; ++row)
                for (npy_intp k = 0; k < units; ++k)
                    d_h0[(first + row) * units + k] += sums[block][row * panels.stride() + k];
        }
    }
    weights_gradient(s, o.h0, h, (const T*)d_products, d_w);
}

template <typename T, typename Task> void with_kind(bool hard, bool scaled, const Task& task) {
    if (hard && scaled)
        task(std::true_type(), std::true_type());
    else if (hard)
        task(std::true_type(), std::false_type());
    else if (scaled)
        task(std::false_type(), std::true_type());
    else
        task(std::false_type(), std::false_type());
}

// The operands as C-contiguous arrays, while they are in scope; optional ones stand for themselves by w.
template <typename T> struct Inputs {
    Contiguous w, h0, c0, mask, z_gates, z_outputs;
    bool masked, scaled;
    Inputs(PyArrayObject* w, PyArrayObject* h0, PyArrayObject* c0, PyArrayObject* mask, PyArrayObject* z_gates,
           PyArrayObject* z_outputs)
        : w(w), h0(h0), c0(c0), mask(mask ? mask : w), z_gates(z_gates ? z_gates : w),
          z_outputs(z_outputs ? z_outputs : w), masked(mask), scaled(z_gates) {}
    // Whether they fit sequences of 4 units' pre-activations; otherwise false, with a Python exception set.
    bool fit(npy_intp batch, npy_intp steps, npy_intp wide, Shape* s) const {
        if (!w.array || !h0.array || !c0.array || !mask.array || !z_gates.array || !z_outputs.array)
            return false;
        *s = {batch, steps, w.length(0)};
        const auto is = [](const Contiguous& one, npy_intp rows, npy_intp columns) {
            return one.length(0) == rows && one.length(1) == columns;
        };
        if (is(w, s->units, 4 * s->units) && wide == 4 * s->units && is(h0, batch, s->units) && is(c0, batch, s->units)
            && (!masked || is(mask, batch, steps))
            && (!scaled || (is(z_gates, batch, wide) && is(z_outputs, batch, s->units))))
            return true;
        PyErr_Format(PyExc_ValueError, "lstm: %zd sequences of %zd steps and %zd pre-activations do not fit weights "
                     "(%zd, %zd) and the other operands", batch, steps, wide, w.length(0), w.length(1));
        return false;
    }
    Operands<T> operands() const {
        const auto of = [](const Contiguous& one, bool is_there) { return is_there ? (const T*)one.data() : NULL; };
        return {of(w, true), of(h0, true), of(c0, true), of(mask, masked), of(z_gates, scaled), of(z_outputs, scaled)};
    }
};

// What c_code calls; false with a Python exception set.
template <typename T>
bool run_forward(bool hard, PyArrayObject* x, PyArrayObject* w, PyArrayObject* h0, PyArrayObject* c0,
                 PyArrayObject* mask, PyArrayObject* z_gates, PyArrayObject* z_outputs, PyArrayObject** h,
                 PyArrayObject** c, PyArrayObject** gates, PyArrayObject** products) {
    const Contiguous cx(x);
    const Inputs<T> inputs(w, h0, c0, mask, z_gates, z_outputs);
    Shape s;
    if (!cx.array || !inputs.fit(cx.length(0), cx.length(1), cx.length(2), &s))
        return false;
    const npy_intp narrow[] = {s.batch, s.steps, s.units}, wide[] = {s.batch, s.steps, 4 * s.units};
    const npy_intp none[] = {0, 0, 0};
    const int type = PyArray_TYPE(x);
    if (!prepare_output(h, 3, narrow, type) || !prepare_output(c, 3, narrow, type)
        || !prepare_output(gates, 3, wide, type) || !prepare_output(products, 3, z_gates ? wide : none, type))
        return false;
    return with_memory([&] {
        with_kind<T>(hard, z_gates, [&](auto is_hard, auto is_scaled) {
            forward<is_hard, is_scaled>(s, inputs.operands(), (const T*)cx.data(), (T*)PyArray_DATA(*h),
                                        (T*)PyArray_DATA(*c), (T*)PyArray_DATA(*gates), (T*)PyArray_DATA(*products));
        });
    });
}

template <typename T>
bool run_backward(bool hard, PyArrayObject* w, PyArrayObject* h0, PyArrayObject* c0, PyArrayObject* mask,
                  PyArrayObject* z_gates, PyArrayObject* z_outputs, PyArrayObject* h, PyArrayObject* c,
                  PyArrayObject* gates, PyArrayObject* products, PyArrayObject* to_h, PyArrayObject** d_x,
                  PyArrayObject** d_w, PyArrayObject** d_h0, PyArrayObject** d_c0, PyArrayObject** d_z_gates,
                  PyArrayObject** d_z_outputs) {
    const Inputs<T> inputs(w, h0, c0, mask, z_gates, z_outputs);
    const Contiguous ch(h), cc(c), cg(gates), cp(products), cd(to_h);
    Shape s;
    if (!ch.array || !cc.array || !cg.array || !cp.array || !cd.array
        || !inputs.fit(cg.length(0), cg.length(1), cg.length(2), &s) || !same_shape(ch, cd) || !same_shape(ch, cc))
        return false;
    const npy_intp wide[] = {s.batch, s.steps, 4 * s.units}, state[] = {s.batch, s.units};
    const npy_intp by_gate[] = {s.batch, 4 * s.units}, weights[] = {s.units, 4 * s.units};
    const int type = PyArray_TYPE(w);
    if (!prepare_output(d_x, 3, wide, type) || !prepare_output(d_w, 2, weights, type)
        || !prepare_output(d_h0, 2, state, type) || !prepare_output(d_c0, 2, state, type)
        || (z_gates && (!prepare_output(d_z_gates, 2, by_gate, type) || !prepare_output(d_z_outputs, 2, state, type))))
        return false;
    return with_memory([&] {
        with_kind<T>(hard, z_gates, [&](auto is_hard, auto is_scaled) {
            backward<is_hard, is_scaled>(
                s, inputs.operands(), (const T*)ch.data(), (const T*)cc.data(), (const T*)cg.data(),
                (const T*)cp.data(), (const T*)cd.data(), (T*)PyArray_DATA(*d_x), (T*)PyArray_DATA(*d_w),
                (T*)PyArray_DATA(*d_h0), (T*)PyArray_DATA(*d_c0), z_gates ? (T*)PyArray_DATA(*d_z_gates) : NULL,
                z_gates ? (T*)PyArray_DATA(*d_z_outputs) : NULL);
        });
    });
}

}  // namespace lstm
