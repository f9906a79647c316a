// Two convolutions at once, mean = w * x and variance = v * x^2, and their gradients; or the first of them alone, where
// the pointers to the second's arrays are NULL.
//
// A panel of col (panels.h) is squared in place between the two products. Where most weights are 0, few_weights.h
// multiplies the others alone.

namespace conv {

template <typename T> void square(T* values, npy_intp size) {
    for (npy_intp i = 0; i < size; ++i)
        values[i] *= values[i];
}

template <typename T> void add(npy_intp size, const T* __restrict__ values, T* __restrict__ total) {
    for (npy_intp i = 0; i < size; ++i)
        total[i] += values[i];
}

template <typename T> struct ForwardWorkspace {
    Panels<T> panels;
    Array<T> padded, col, tile;
    ForwardWorkspace(const Geometry& g, npy_intp group, const std::vector<npy_intp>* rows)
        : panels(g, rows), padded(group * g.padded_size()), col(g.weights() * Lanes<T>::PANEL),
          tile(TILE_ROWS * Lanes<T>::PANEL) {
        panels.set_images(group);  // here, where it may run out of memory
    }
};

template <typename T>
void forward(const Geometry& g, const T* x, const T* w, const T* v, T* mean, T* variance) {
    constexpr int PANEL = Lanes<T>::PANEL;
    const npy_intp weights = g.weights(), image_size = g.channels * g.rows * g.columns;
    const npy_intp result_size = g.filters * g.pixels();
    const Tiles tiles(g.filters);
    const Nonzeros<T> nonzeros(g, w, v, false);
    Array<T> packed_w(nonzeros.few ? 0 : g.filters * weights), packed_v(nonzeros.few || !v ? 0 : g.filters * weights);
    if (!nonzeros.few)
        pack(tiles, weights, w, weights, 1, (T*)packed_w);
    if (!nonzeros.few && v)
        pack(tiles, weights, v, weights, 1, (T*)packed_v);
    const Schedule schedule(g, sizeof(T), PANEL);
    std::vector<ForwardWorkspace<T>> workspaces;
    workspaces.reserve(schedule.threads);
    for (int thread = 0; thread < schedule.threads; ++thread)
        workspaces.emplace_back(g, schedule.group, nonzeros.few ? &nonzeros.rows : NULL);

    #pragma omp parallel for schedule(static, 1) num_threads(schedule.threads)
    for (int thread = 0; thread < schedule.threads; ++thread) {
        ForwardWorkspace<T>& space = workspaces[thread];
        Panels<T>& panels = space.panels;
        const auto do_group = [&](npy_intp first, npy_intp images) {
            panels.set_images(images);
            pad_images(g, images, x + first * image_size, (T*)space.padded);
            for (npy_intp panel = 0; panel < panels.count; ++panel) {
                T* col = space.col;
                const auto multiply = [&](const T* packed, T* result) {
                    for (npy_intp tile = 0; tile < tiles.count; ++tile) {
                        const npy_intp filter = tiles.begin(tile);
                        with_rows(tiles.size(tile), [&](auto rows) {
                            Tile<T, rows> sums;
                            sums.clear();
                            sums.template add_product<1, rows>(weights, packed + filter * weights, col);
                            panels.scatter(panel, filter, rows, sums, space.tile, result);
                        });
                    }
                };
                panels.im2col(panel, space.padded, col);
                if (nonzeros.few) {
                    multiply_few(panels, panel, nonzeros, g.filters, (const T*)col, (T*)space.tile,
                                 mean + first * result_size, v ? variance + first * result_size : NULL);
                    continue;
                }
                multiply(packed_w, mean + first * result_size);
                if (!v)
                    continue;
                square(col, weights * PANEL);
                multiply(packed_v, variance + first * result_size);
            }
        };
        schedule.of_thread(thread, [&](int share) { schedule.groups(share, do_group); });
    }
}

template <typename T> struct BackwardWorkspace {
    Panels<T> panels;
    Array<T> padded, padded_dx, col, tile, g_mean, g_variance, g_mean_t, g_variance_t;
    BackwardWorkspace(const Geometry& g, npy_intp group, npy_intp most_panels, npy_intp filters, bool pair,
                      bool with_dx)
        : panels(g), padded(group * g.padded_size()), padded_dx(with_dx ? group * g.padded_size() : 0),
          col(g.weights() * most_panels * Lanes<T>::PANEL), tile(TILE_ROWS * Lanes<T>::PANEL),
          g_mean(g.filters * most_panels * Lanes<T>::PANEL),
          g_variance(pair * g.filters * most_panels * Lanes<T>::PANEL),
          g_mean_t(filters * most_panels * Lanes<T>::PANEL),
          g_variance_t(pair * filters * most_panels * Lanes<T>::PANEL) {
        panels.set_images(group);  // here, where it may run out of memory
    }
};

// Rows of PANEL pixels as columns: (filter, pixel) becomes (panel of filters, pixel, filter in its panel).
template <typename T> void transpose(npy_intp filters, const T* from, T* to, npy_intp panel_stride) {
    constexpr int PANEL = Lanes<T>::PANEL;
    for (npy_intp first = 0; first < filters; first += PANEL, to += panel_stride) {
        const int number = int(std::min<npy_intp>(PANEL, filters - first));
        if (number < PANEL)
            std::memset(to, 0, PANEL * PANEL * sizeof(T));
        for (int pixel = 0; pixel < PANEL; ++pixel)
            for (int i = 0; i < number; ++i)
                to[pixel * PANEL + i] = from[(first + i) * PANEL + pixel];
    }
}

// The shares' sums, always in the same order: (share, weight, filter) becomes (filter, weight).
template <typename T> void add_up(const Geometry& g, int shares, npy_intp filters, T* sums, T* total) {
    constexpr npy_intp BLOCK = 16;
    const npy_intp weights = g.weights(), size = filters * weights;
    #pragma omp parallel for schedule(static) if (shares * size > WORTH_THREADS)
    for (npy_intp first = 0; first < weights; first += BLOCK) {
        const npy_intp number = std::min(BLOCK, weights - first);
        T* block = sums + first * filters;
        if (!shares)
            std::memset(block, 0, number * filters * sizeof(T));
        for (int share = 1; share < shares; ++share)
            add(number * filters, (const T*)block + share * size, block);
        for (npy_intp filter = 0; filter < g.filters; ++filter)
            for (npy_intp weight = 0; weight < number; ++weight)
                total[filter * weights + first + weight] = block[weight * filters + filter];
    }
}

// dx is NULL where nobody asks for it; v, g_variance and dv are where there is one convolution only. `fixed_zeros`:
// nobody asks for the gradients to elements of w and v that are 0.
template <typename T>
void backward(const Geometry& g, const T* x, const T* w, const T* v, const T* g_mean, const T* g_variance,
              T* dx, T* dw, T* dv, bool fixed_zeros) {
    constexpr int PANEL = Lanes<T>::PANEL;
    if (fixed_zeros && v) {
        const Nonzeros<T> nonzeros(g, w, v, true);
        if (nonzeros.few)
            return backward_few(g, nonzeros, x, g_mean, g_variance, dx, dw, dv);
    }
    const npy_intp weights = g.weights(), image_size = g.channels * g.rows * g.columns;
    const npy_intp result_size = g.filters * g.pixels();
    const npy_intp filter_panels = ceil_div(g.filters, PANEL), filters = filter_panels * PANEL;
    const Tiles tiles(weights);
    const bool pair = v != NULL;
    Array<T> packed_w(dx ? g.filters * weights : 0), packed_v(dx && pair ? g.filters * weights : 0);
    if (dx)
        pack(tiles, g.filters, w, 1, weights, (T*)packed_w);
    if (dx && pair)
        pack(tiles, g.filters, v, 1, weights, (T*)packed_v);
    const Schedule schedule(g, sizeof(T), PANEL);
    const npy_intp most_panels = ceil_div(schedule.group * g.pixels(), PANEL);
    std::vector<BackwardWorkspace<T>> workspaces;
    workspaces.reserve(schedule.threads);
    for (int thread = 0; thread < schedule.threads; ++thread)
        workspaces.emplace_back(g, schedule.group, most_panels, filters, pair, dx != NULL);
    // The shares' sums, (share, weight, filter).
    const npy_intp sums_size = filters * weights;
    Array<T> sums_w(schedule.shares * sums_size), sums_v(pair * schedule.shares * sums_size);

    #pragma omp parallel for schedule(static, 1) num_threads(schedule.threads)
    for (int thread = 0; thread < schedule.threads; ++thread) {
        BackwardWorkspace<T>& space = workspaces[thread];
        Panels<T>& panels = space.panels;
        const auto do_group = [&](int share, npy_intp first, npy_intp images) {
            const bool begun = first != schedule.begin(share);
            panels.set_images(images);
            pad_images(g, images, x + first * image_size, (T*)space.padded);
            panels.gather(g_mean + first * result_size, space.g_mean);
            if (pair)
                panels.gather(g_variance + first * result_size, space.g_variance);
            if (dx)
                std::memset(space.padded_dx, 0, images * g.padded_size() * sizeof(T));
            for (npy_intp panel = 0; panel < panels.count; ++panel) {
                T* col = space.col + panel * weights * PANEL;
                panels.im2col(panel, space.padded, col);
                const T* panel_g_mean = space.g_mean + panel * g.filters * PANEL;
                const T* panel_g_variance = space.g_variance + panel * g.filters * PANEL;
                const npy_intp position = panel * PANEL * PANEL, stride = panels.count * PANEL * PANEL;
                transpose(g.filters, panel_g_mean, space.g_mean_t + position, stride);
                if (pair)
                    transpose(g.filters, panel_g_variance, space.g_variance_t + position, stride);
                for (npy_intp tile = 0; dx && tile < tiles.count; ++tile) {
                    const npy_intp weight = tiles.begin(tile), packed = weight * g.filters;
                    with_rows(tiles.size(tile), [&](auto rows) {
                        Tile<T, rows> sums;
                        sums.clear();
                        if (pair) {
                            sums.template add_product<1, rows>(g.filters, packed_v + packed, panel_g_variance);
                            sums.times_twice(col + weight * PANEL);
                        }
                        sums.template add_product<1, rows>(g.filters, packed_w + packed, panel_g_mean);
                        sums.write(space.tile, PANEL);
                    });
                    panels.add_col2im(panel, space.tile, weight, tiles.size(tile), space.padded_dx);
                }
            }
            if (dx)
                remove_padding(g, images, (const T*)space.padded_dx, dx + first * image_size);

            // Sums over pixels: rows are weights, columns filters.
            const auto add_products = [&](const T* g_t, T* total) {
                for (npy_intp tile = 0; tile < tiles.count; ++tile)
                    for (npy_intp filter_panel = 0; filter_panel < filter_panels; ++filter_panel)
                        with_rows(tiles.size(tile), [&](auto rows) {
                            const npy_intp weight = tiles.begin(tile), filter = filter_panel * PANEL;
                            const T* a = space.col + weight * PANEL;
                            const T* b = g_t + filter * panels.count * PANEL;
                            T* to = total + weight * filters + filter;
                            const auto add = [&](auto sums) {
                                if (begun)
                                    sums.read(to, filters);
                                else
                                    sums.clear();
                                for (npy_intp panel = 0; panel < panels.count; ++panel)
                                    sums.template add_product<PANEL, 1>(PANEL, a + panel * weights * PANEL,
                                                                        b + panel * PANEL * PANEL);
                                sums.write(to, filters);
                            };
                            if (g.filters - filter > Lanes<T>::COUNT)
                                add(Tile<T, rows>());
                            else
                                add(Tile<T, rows, 1>());
                        });
            };
            add_products(space.g_mean_t, sums_w + share * sums_size);
            if (pair) {
                square((T*)space.col, panels.count * weights * PANEL);
                add_products(space.g_variance_t, sums_v + share * sums_size);
            }
        };
        schedule.of_thread(thread, [&](int share) {
            schedule.groups(share, [&](npy_intp first, npy_intp images) { do_group(share, first, images); });
        });
    }
    add_up(g, g.images ? schedule.shares : 0, filters, (T*)sums_w, dw);
    if (pair)
        add_up(g, g.images ? schedule.shares : 0, filters, (T*)sums_v, dv);
}

// The shapes of the operands; false, and a ValueError, if they do not fit.
static bool geometry(const Contiguous& x, const Contiguous& w, const Contiguous& v, const npy_intp* pad,
                     const npy_intp* stride, Geometry* g) {
    *g = {x.length(0), x.length(1), x.length(2), x.length(3), w.length(0), w.length(2), w.length(3),
          pad[0], pad[1], stride[0], stride[1]};
    bool fits = w.length(1) == g->channels && g->weights() > 0 && pad[0] >= 0 && pad[1] >= 0 && stride[0] > 0
                && stride[1] > 0 && g->padded_rows() >= g->filter_rows
                && g->padded_columns() >= g->filter_columns
                && PyArray_CompareLists(PyArray_DIMS(w.array), PyArray_DIMS(v.array), 4);
    if (!fits)
        PyErr_Format(PyExc_ValueError, "convolution: images (%zd, %zd, %zd, %zd) with padding (%zd, %zd) do not fit "
                     "weights (%zd, %zd, %zd, %zd) and (%zd, %zd, %zd, %zd)",
                     x.length(0), x.length(1), x.length(2), x.length(3), pad[0], pad[1], w.length(0), w.length(1),
                     w.length(2), w.length(3), v.length(0), v.length(1), v.length(2), v.length(3));
    return fits;
}

// What c_code calls; false with a Python exception set.
template <typename T>
bool run_forward(PyArrayObject* x, PyArrayObject* w, PyArrayObject* v, PyArrayObject** mean,
                 PyArrayObject** variance, const npy_intp* pad, const npy_intp* stride) {
    Contiguous cx(x), cw(w), cv(v ? v : w);
    Geometry g;
    if (!cx.array || !cw.array || !cv.array || !geometry(cx, cw, cv, pad, stride, &g))
        return false;
    const npy_intp shape[] = {g.images, g.filters, g.out_rows(), g.out_columns()};
    if (!prepare_output(mean, 4, shape, PyArray_TYPE(x))
        || (variance && !prepare_output(variance, 4, shape, PyArray_TYPE(x))))
        return false;
    return with_memory([&] {
        forward<T>(g, (const T*)cx.data(), (const T*)cw.data(), v ? (const T*)cv.data() : NULL,
                   (T*)PyArray_DATA(*mean), variance ? (T*)PyArray_DATA(*variance) : NULL);
    });
}

template <typename T>
bool run_backward(PyArrayObject* x, PyArrayObject* w, PyArrayObject* v, PyArrayObject* g_mean,
                  PyArrayObject* g_variance, PyArrayObject** dx, PyArrayObject** dw, PyArrayObject** dv,
                  bool fixed_zeros, const npy_intp* pad, const npy_intp* stride) {
    Contiguous cx(x), cw(w), cv(v ? v : w), cm(g_mean), cs(v ? g_variance : g_mean);
    Geometry g;
    if (!cx.array || !cw.array || !cv.array || !cm.array || !cs.array || !geometry(cx, cw, cv, pad, stride, &g))
        return false;
    const npy_intp shape[] = {g.images, g.filters, g.out_rows(), g.out_columns()};
    if (!PyArray_CompareLists(PyArray_DIMS(cm.array), shape, 4)
        || !PyArray_CompareLists(PyArray_DIMS(cs.array), shape, 4)) {
        PyErr_Format(PyExc_ValueError, "convolution: gradients are not of the result's shape (%zd, %zd, %zd, %zd)",
                     shape[0], shape[1], shape[2], shape[3]);
        return false;
    }
    if ((dx && !prepare_output(dx, 4, PyArray_DIMS(x), PyArray_TYPE(x)))
        || !prepare_output(dw, 4, PyArray_DIMS(w), PyArray_TYPE(x))
        || (v && !prepare_output(dv, 4, PyArray_DIMS(w), PyArray_TYPE(x))))
        return false;
    return with_memory([&] {
        backward<T>(g, (const T*)cx.data(), (const T*)cw.data(), v ? (const T*)cv.data() : NULL,
                    (const T*)cm.data(), (const T*)cs.data(), dx ? (T*)PyArray_DATA(*dx) : NULL,
                    (T*)PyArray_DATA(*dw), v ? (T*)PyArray_DATA(*dv) : NULL, fixed_zeros);
    });
}

}  // namespace conv
