// Convolutions most of whose weights are 0, as pruned ones are: rows of col that only they would read are left out, and
// the others are multiplied weight by weight.

namespace conv {

// Of the weights, at most one in so many may be other than 0, if they are to be multiplied one by one.
constexpr npy_intp FEW = 2;

// The weights that are not 0 in w, nor in v, if they are few.
template <typename T> struct Nonzeros {
    struct Entry {
        npy_intp row, filter;
        T w, v;
    };
    bool few;
    std::vector<npy_intp> rows;    // of col that they need: weights of a filter
    std::vector<Entry> entries;    // by filters, or by rows; Entry::row counts those in `rows`
    std::vector<npy_intp> begin;   // of each filter's, or each row's, and the end

    Nonzeros(const Geometry& g, const T* w, const T* v, bool by_rows) {
        const npy_intp weights = g.weights(), size = g.filters * weights;
        const auto is_there = [&](npy_intp i) { return w[i] != 0 || (v && v[i] != 0); };
        npy_intp number = 0;
        for (npy_intp i = 0; i < size; ++i)
            number += is_there(i);
        few = number * FEW <= size;
        if (!few)
            return;
        std::vector<npy_intp> place(weights, -1);
        for (npy_intp i = 0; i < size; ++i)
            if (is_there(i))
                place[i % weights] = 0;
        for (npy_intp weight = 0; weight < weights; ++weight)
            if (!place[weight]) {
                place[weight] = rows.size();
                rows.push_back(weight);
            }
        entries.reserve(number);
        const auto add = [&](npy_intp filter, npy_intp weight) {
            const npy_intp i = filter * weights + weight;
            if (is_there(i))
                entries.push_back({place[weight], filter, w[i], v ? v[i] : T(0)});
        };
        if (by_rows)
            for (const npy_intp weight : rows) {
                begin.push_back(entries.size());
                for (npy_intp filter = 0; filter < g.filters; ++filter)
                    add(filter, weight);
            }
        else
            for (npy_intp filter = 0; filter < g.filters; ++filter) {
                begin.push_back(entries.size());
                for (const npy_intp weight : rows)
                    add(filter, weight);
            }
        begin.push_back(entries.size());
    }
};

// A panel of both results, or of the first; the sums are those of the tiles, less products by 0.
template <typename T>
void multiply_few(const Panels<T>& panels, npy_intp panel, const Nonzeros<T>& nonzeros, npy_intp filters, const T* col,
                  T* tile, T* mean, T* variance) {
    constexpr int COUNT = Lanes<T>::COUNT, PANEL = Lanes<T>::PANEL;
    for (npy_intp filter = 0; filter < filters; ++filter) {
        Tile<T, 1> sums, sums_of_squares;
        sums.clear();
        sums_of_squares.clear();
        for (npy_intp i = nonzeros.begin[filter]; i < nonzeros.begin[filter + 1]; ++i) {
            const auto& entry = nonzeros.entries[i];
            for (int half = 0; half < 2; ++half) {
                auto values = sums.load(col + entry.row * PANEL + half * COUNT);
                sums.sums[0][half] += entry.w * values;
                values *= values;
                sums_of_squares.sums[0][half] += entry.v * values;
            }
        }
        panels.scatter(panel, filter, 1, sums, tile, mean);
        if (variance)
            panels.scatter(panel, filter, 1, sums_of_squares, tile, variance);
    }
}

template <typename T> struct FewWorkspace {
    Panels<T> panels;
    Array<T> padded, padded_dx, col, tile, g_mean, g_variance;
    FewWorkspace(const Geometry& g, npy_intp group, const std::vector<npy_intp>& rows, bool with_dx)
        : panels(g, &rows), padded(group * g.padded_size()), padded_dx(with_dx ? group * g.padded_size() : 0),
          col(rows.size() * Lanes<T>::PANEL), tile(Lanes<T>::PANEL),
          g_mean(g.filters * ceil_div(group * g.pixels(), Lanes<T>::PANEL) * Lanes<T>::PANEL),
          g_variance(g.filters * ceil_div(group * g.pixels(), Lanes<T>::PANEL) * Lanes<T>::PANEL) {
        panels.set_images(group);  // here, where it may run out of memory
    }
};

// Of two convolutions, with gradients to the weights in `nonzeros` alone; the others' are 0.
template <typename T>
void backward_few(const Geometry& g, const Nonzeros<T>& nonzeros, const T* x, const T* g_mean, const T* g_variance,
                  T* dx, T* dw, T* dv) {
    typedef typename Lanes<T>::vector Vector;
    typedef Tile<T, 1> Row;
    constexpr int COUNT = Lanes<T>::COUNT, PANEL = Lanes<T>::PANEL;
    const npy_intp image_size = g.channels * g.rows * g.columns, result_size = g.filters * g.pixels();
    const npy_intp number = nonzeros.entries.size(), rows = nonzeros.rows.size(), size = g.filters * g.weights();
    const Schedule schedule(g, sizeof(T), PANEL);
    std::vector<FewWorkspace<T>> workspaces;
    workspaces.reserve(schedule.threads);
    for (int thread = 0; thread < schedule.threads; ++thread)
        workspaces.emplace_back(g, schedule.group, nonzeros.rows, dx != NULL);
    // A vector of each share for each weight: (share, entry, lane).
    Array<T> sums_w(schedule.shares * number * COUNT), sums_v(schedule.shares * number * COUNT);

    #pragma omp parallel for schedule(static, 1) num_threads(schedule.threads)
    for (int thread = 0; thread < schedule.threads; ++thread) {
        FewWorkspace<T>& space = workspaces[thread];
        Panels<T>& panels = space.panels;
        schedule.of_thread(thread, [&](int share) {
            T* const share_w = sums_w + share * number * COUNT;
            T* const share_v = sums_v + share * number * COUNT;
            std::memset(share_w, 0, number * COUNT * sizeof(T));
            std::memset(share_v, 0, number * COUNT * sizeof(T));
            schedule.groups(share, [&](npy_intp first, npy_intp images) {
                panels.set_images(images);
                pad_images(g, images, x + first * image_size, (T*)space.padded);
                panels.gather(g_mean + first * result_size, space.g_mean);
                panels.gather(g_variance + first * result_size, space.g_variance);
                if (dx)
                    std::memset(space.padded_dx, 0, images * g.padded_size() * sizeof(T));
                for (npy_intp panel = 0; panel < panels.count; ++panel) {
                    panels.im2col(panel, space.padded, space.col);
                    const T* panel_mean = space.g_mean + panel * g.filters * PANEL;
                    const T* panel_variance = space.g_variance + panel * g.filters * PANEL;
                    for (npy_intp row = 0; row < rows; ++row) {
                        const T* values = space.col + row * PANEL;
                        const Vector x0 = Row::load(values), x1 = Row::load(values + COUNT);
                        Row to_x;
                        to_x.clear();
                        // The weights are entry.*weight; y0 and y1 are x or its squares.
                        const auto add = [&](auto weight, const T* gradients, Vector y0, Vector y1, T* sums) {
                            for (npy_intp i = nonzeros.begin[row]; i < nonzeros.begin[row + 1]; ++i) {
                                const auto& entry = nonzeros.entries[i];
                                const T* gradient = gradients + entry.filter * PANEL;
                                const Vector g0 = Row::load(gradient), g1 = Row::load(gradient + COUNT);
                                to_x.sums[0][0] += entry.*weight * g0;
                                to_x.sums[0][1] += entry.*weight * g1;
                                *(Vector*)(sums + i * COUNT) += y0 * g0 + y1 * g1;
                            }
                        };
                        add(&Nonzeros<T>::Entry::v, panel_variance, x0 * x0, x1 * x1, share_v);
                        to_x.times_twice(values);
                        add(&Nonzeros<T>::Entry::w, panel_mean, x0, x1, share_w);
                        if (dx) {
                            to_x.write(space.tile, PANEL);
                            panels.add_col2im(panel, space.tile, row, 1, space.padded_dx);
                        }
                    }
                }
                if (dx)
                    remove_padding(g, images, (const T*)space.padded_dx, dx + first * image_size);
            });
        });
    }

    std::memset(dw, 0, size * sizeof(T));
    std::memset(dv, 0, size * sizeof(T));
    const auto add_up = [&](const T* sums, npy_intp i) {
        T total = 0;
        for (int share = 0; share < (g.images ? schedule.shares : 0); ++share)
            for (int lane = 0; lane < COUNT; ++lane)
                total += sums[(share * number + i) * COUNT + lane];
        return total;
    };
    for (npy_intp i = 0; i < number; ++i) {
        const npy_intp place = nonzeros.entries[i].filter * g.weights() + nonzeros.rows[nonzeros.entries[i].row];
        dw[place] = add_up(sums_w, i);
        dv[place] = add_up(sums_v, i);
    }
}

}  // namespace conv
