// Two convolutions at once, mean = w * x and variance = v * x^2, and their gradients; or the first of them alone, where
// the pointers to the second's arrays are NULL.
//
// As in any convolution by im2col, pixels of the result are columns of a matrix "col" with a row for each weight of a
// filter. Here it is made in panels of PANEL columns, the order in which a register tile reads it, so that it is
// written and read once, from cache. The panel is squared in place between the two products.
//
// Where most weights are 0, as pruned ones are, rows of col that only they would read are left out, and the others are
// multiplied weight by weight.
//
// Sums have a fixed order, whatever the alignment and the number of threads: those over images are of shares of them,
// which threads take one after the other, and are added up in the shares' order.

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace conv {

using namespace tiles;

// Of a group of images: about the size that its part of col has, and the least number of panels if images are small.
constexpr npy_intp COL_BYTES = 1 << 18, LEAST_PANELS = 8;
// Of the weights, at most one in so many may be other than 0, if they are to be multiplied one by one.
constexpr npy_intp FEW = 2;
// Into how many shares a batch's images are divided, by the number of pixels of its results. More threads than that find
// no work; but each share has sums of its own, which cost as much as some hundred pixels.
inline npy_intp most_shares(npy_intp pixels) { return pixels < 1 << 10 ? 4 : pixels < 1 << 14 ? 8 : 16; }

struct Geometry {
    npy_intp images, channels, rows, columns, filters, filter_rows, filter_columns;
    npy_intp pad_rows, pad_columns, stride_rows, stride_columns;

    npy_intp padded_rows() const { return rows + 2 * pad_rows; }
    npy_intp padded_columns() const { return columns + 2 * pad_columns; }
    npy_intp padded_size() const { return channels * padded_rows() * padded_columns(); }
    npy_intp out_rows() const { return (padded_rows() - filter_rows) / stride_rows + 1; }
    npy_intp out_columns() const { return (padded_columns() - filter_columns) / stride_columns + 1; }
    npy_intp pixels() const { return out_rows() * out_columns(); }
    npy_intp weights() const { return channels * filter_rows * filter_columns; }
};

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

// Neighbouring columns of a panel that are neighbouring pixels in one row of the result.
struct Run {
    npy_intp source;  // in the padded images, for the first weight of a filter
    int column, length;
};

template <typename T> inline void copy(T* to, const T* from, int length) {
    for (; length >= 8; length -= 8, to += 8, from += 8)
        std::memcpy(to, from, 8 * sizeof(T));
    for (; length >= 2; length -= 2, to += 2, from += 2)
        std::memcpy(to, from, 2 * sizeof(T));
    if (length)
        *to = *from;
}

// Panels of a group of images: which pixels their columns are, and where the padded images have them.
template <typename T> class Panels {
    static constexpr int PANEL = Lanes<T>::PANEL;
    const Geometry& g;
    std::vector<Run> runs;
    std::vector<npy_intp> first_run;
    std::vector<npy_intp> offsets;  // of each weight of a filter, in padded images
    npy_intp run_length;            // of all runs, 0 if they differ

    const Run* begin(npy_intp panel) const { return runs.data() + first_run[panel]; }
    const Run* end(npy_intp panel) const { return runs.data() + first_run[panel + 1]; }
    bool is_full(npy_intp panel) const { return (panel + 1) * PANEL <= images * g.pixels(); }

    // Calls task(std::integral_constant<int, run_length>()): loops over short runs are fast only if their length is
    // known when they are compiled.
    template <typename Task> void with_run_length(const Task& task) const {
        switch (run_length) {
            case 2: return task(std::integral_constant<int, 2>());
            case 4: return task(std::integral_constant<int, 4>());
            case 8: return task(std::integral_constant<int, 8>());
            case 16: return task(std::integral_constant<int, 16>());
            case 32: return task(std::integral_constant<int, 32>());
            default: return task(std::integral_constant<int, 0>());
        }
    }

    // Calls task(panel, column, pixel, length) for the pieces of an image's pixels that are in one panel.
    template <typename Task> void pieces(npy_intp image, const Task& task) const {
        for (npy_intp pixel = 0, length; pixel < g.pixels(); pixel += length) {
            const npy_intp position = image * g.pixels() + pixel;
            length = std::min<npy_intp>(PANEL - position % PANEL, g.pixels() - pixel);
            task(position / PANEL, int(position % PANEL), pixel, int(length));
        }
    }

public:
    npy_intp images, count;

    // With `rows`, col has those alone.
    explicit Panels(const Geometry& geometry, const std::vector<npy_intp>* rows = NULL)
        : g(geometry), images(0), count(0) {
        // The largest power of 2 that rows are multiples of, unless that makes too many runs.
        const npy_intp width = g.out_columns();
        run_length = std::min<npy_intp>(width & -width, PANEL);
        if (g.stride_columns != 1 || (run_length < 4 && run_length < width))
            run_length = 0;
        for (npy_intp channel = 0; channel < g.channels; ++channel)
            for (npy_intp row = 0; row < g.filter_rows; ++row)
                for (npy_intp column = 0; column < g.filter_columns; ++column)
                    offsets.push_back((channel * g.padded_rows() + row) * g.padded_columns() + column);
        if (!rows)
            return;
        for (size_t i = 0; i < rows->size(); ++i)  // in place: rows are in their order
            offsets[i] = offsets[(*rows)[i]];
        offsets.resize(rows->size());
    }

    void set_images(npy_intp number) {
        if (number == images)
            return;
        images = number;
        count = ceil_div(images * g.pixels(), PANEL);
        runs.clear();
        first_run.assign(1, 0);
        int column = 0;
        for (npy_intp image = 0; image < images; ++image)
            for (npy_intp row = 0; row < g.out_rows(); ++row)
                for (npy_intp x = 0, length; x < g.out_columns(); x += length) {
                    length = run_length ? run_length : std::min<npy_intp>(g.out_columns() - x, PANEL - column);
                    const npy_intp source = image * g.padded_size() + row * g.stride_rows * g.padded_columns()
                                            + x * g.stride_columns;
                    runs.push_back({source, column, int(length)});
                    column += int(length);
                    if (column == PANEL) {
                        first_run.push_back(runs.size());
                        column = 0;
                    }
                }
        if (column)
            first_run.push_back(runs.size());
    }

    // The panel of col, weights x PANEL.
    void im2col(npy_intp panel, const T* padded, T* col) const {
        if (!is_full(panel))
            std::memset(col, 0, offsets.size() * PANEL * sizeof(T));
        with_run_length([&](auto fixed_length) {
            const Run* const first = begin(panel), *const last = end(panel);
            T* to = col;
            for (const npy_intp offset : offsets) {
                for (const Run* run = first; run != last; ++run) {
                    const T* from = padded + offset + run->source;
                    if (fixed_length)
                        std::memcpy(to + run->column, from, fixed_length * sizeof(T));
                    else if (g.stride_columns == 1)
                        copy(to + run->column, from, run->length);
                    else
                        for (int i = 0; i < run->length; ++i)
                            to[run->column + i] = from[i * g.stride_columns];
                }
                to += PANEL;
            }
        });
    }

    // Adds rows of a panel of col to the padded images, where im2col would have them from.
    void add_col2im(npy_intp panel, const T* col, npy_intp first_weight, int weights, T* padded) const {
        with_run_length([&](auto fixed_length) {
            const Run* const first = begin(panel), *const last = end(panel);
            const T* row = col;
            for (npy_intp weight = first_weight; weight < first_weight + weights; ++weight, row += PANEL)
                for (const Run* run = first; run != last; ++run) {
                    T* to = padded + offsets[weight] + run->source;
                    const T* from = row + run->column;
                    if (fixed_length) {
                        T sums[fixed_length ? fixed_length : 1];  // read before any is written: vectors
                        for (int i = 0; i < fixed_length; ++i)
                            sums[i] = to[i] + from[i];
                        std::memcpy(to, sums, fixed_length * sizeof(T));
                    } else {
                        for (int i = 0; i < run->length; ++i)
                            to[i * g.stride_columns] += from[i];
                    }
                }
        });
    }

    // An array of the result's shape (image, filter, pixel) in panels: (panel, filter, column).
    void gather(const T* result, T* to) const {
        if (!is_full(count - 1))
            std::memset(to + (count - 1) * g.filters * PANEL, 0, g.filters * PANEL * sizeof(T));
        for (npy_intp image = 0; image < images; ++image)
            for (npy_intp filter = 0; filter < g.filters; ++filter, result += g.pixels())
                pieces(image, [&](npy_intp panel, int column, npy_intp pixel, int length) {
                    copy(to + (panel * g.filters + filter) * PANEL + column, result + pixel, length);
                });
    }

    // The reverse, for the rows of one tile.
    template <typename Sums>
    void scatter(npy_intp panel, npy_intp first_filter, int filters, const Sums& sums, T* tile, T* result) const {
        const npy_intp pixels = g.pixels(), first = panel * PANEL, last = std::min(first + PANEL, images * pixels);
        npy_intp image = first / pixels, pixel = first % pixels;
        if (pixel + PANEL <= pixels) {
            sums.write(result + (image * g.filters + first_filter) * pixels + pixel, pixels);
            return;
        }
        sums.write(tile, PANEL);
        for (npy_intp position = first, length; position < last; position += length, ++image, pixel = 0) {
            length = std::min(pixels - pixel, last - position);
            for (int row = 0; row < filters; ++row)
                copy(result + (image * g.filters + first_filter + row) * pixels + pixel,
                     tile + row * PANEL + (position - first), int(length));
        }
    }
};

// Images with a border of zeros.
template <typename T> void pad_images(const Geometry& g, npy_intp images, const T* x, T* padded) {
    if (!g.pad_rows && !g.pad_columns) {
        std::memcpy(padded, x, images * g.padded_size() * sizeof(T));
        return;
    }
    std::memset(padded, 0, images * g.padded_size() * sizeof(T));
    for (npy_intp plane = 0; plane < images * g.channels; ++plane)
        for (npy_intp row = 0; row < g.rows; ++row)
            std::memcpy(padded + (plane * g.padded_rows() + row + g.pad_rows) * g.padded_columns() + g.pad_columns,
                        x + (plane * g.rows + row) * g.columns, g.columns * sizeof(T));
}

template <typename T> void remove_padding(const Geometry& g, npy_intp images, const T* padded, T* x) {
    for (npy_intp plane = 0; plane < images * g.channels; ++plane)
        for (npy_intp row = 0; row < g.rows; ++row)
            std::memcpy(x + (plane * g.rows + row) * g.columns,
                        padded + (plane * g.padded_rows() + row + g.pad_rows) * g.padded_columns() + g.pad_columns,
                        g.columns * sizeof(T));
}

template <typename T> void square(T* values, npy_intp size) {
    for (npy_intp i = 0; i < size; ++i)
        values[i] *= values[i];
}

template <typename T> void add(npy_intp size, const T* __restrict__ values, T* __restrict__ total) {
    for (npy_intp i = 0; i < size; ++i)
        total[i] += values[i];
}

inline int number_of_threads(npy_intp shares) {
#ifdef _OPENMP
    return int(std::max<npy_intp>(1, std::min<npy_intp>(omp_get_max_threads(), shares)));
#else
    return 1;
#endif
}

// Who does what: images are divided into shares, whose number does not depend on that of threads. A thread takes some
// of them, and of each the images in groups.
struct Schedule {
    npy_intp images, unit, units, group, groups_of_share;
    int shares, threads;

    // A group's part of col shall stay in the cache, and be wide enough to make use of the weights that it is
    // multiplied by. Small images are taken in units that fill a panel. `group` is the most images of a group.
    Schedule(const Geometry& g, npy_intp item_bytes, int panel)
        : images(g.images), unit(std::max<npy_intp>(1, panel / g.pixels())), units(ceil_div(images, unit)) {
        shares = int(std::max<npy_intp>(1, std::min(most_shares(images * g.pixels()), units)));
        threads = number_of_threads(shares);
        const npy_intp columns = std::max<npy_intp>(COL_BYTES / (g.weights() * item_bytes),
                                                    LEAST_PANELS * panel);
        const npy_intp size = ceil_div(units, shares), wanted = std::max<npy_intp>(1, columns / g.pixels() / unit);
        groups_of_share = std::max<npy_intp>(1, (2 * size + wanted) / (2 * wanted));
        group = std::max<npy_intp>(1, ceil_div(size, groups_of_share)) * unit;
    }

    npy_intp begin(int share, npy_intp number = 0) const {
        const npy_intp first = share * units / shares, size = (share + 1) * units / shares - first;
        return std::min((first + number * size / groups_of_share) * unit, images);
    }

    // Calls task(share) for those of a thread.
    template <typename Task> void of_thread(int thread, const Task& task) const {
        for (int share = thread * shares / threads; share < (thread + 1) * shares / threads; ++share)
            task(share);
    }

    // Calls task(first image, images) for the groups of a share.
    template <typename Task> void groups(int share, const Task& task) const {
        for (npy_intp number = 0; number < groups_of_share; ++number)
            if (begin(share, number) < begin(share, number + 1))
                task(begin(share, number), begin(share, number + 1) - begin(share, number));
    }
};

template <typename T> struct ForwardWorkspace {
    Panels<T> panels;
    Array<T> padded, col, tile;
    ForwardWorkspace(const Geometry& g, npy_intp group, const std::vector<npy_intp>* rows)
        : panels(g, rows), padded(group * g.padded_size()), col(g.weights() * Lanes<T>::PANEL),
          tile(TILE_ROWS * Lanes<T>::PANEL) {
        panels.set_images(group);  // here, where it may run out of memory
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
    bool fits = w.length(1) == g->channels && g->padded_rows() >= g->filter_rows
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
