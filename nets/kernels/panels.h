// What a convolution reads and writes, in panels, and which thread takes which images.
//
// As in any convolution by im2col, pixels of the result are columns of a matrix "col" with a row for each weight of a
// filter. Here it is made in panels of PANEL columns, the order in which a register tile reads it, so that it is
// written and read once, from cache.
//
// Sums over images have a fixed order, whatever the alignment and the number of threads: they are of shares of the
// images, which a thread takes one after the other.

#include <cstring>
#include <type_traits>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace conv {

using namespace tiles;

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

// Of a group of images: about the size that its part of col has, and the least number of panels if images are small.
constexpr npy_intp COL_BYTES = 1 << 18, LEAST_PANELS = 8;
// Into how many shares a batch's images are divided, by the number of pixels of its results. More threads than that find
// no work; but each share has sums of its own, which cost as much as some hundred pixels.
inline npy_intp most_shares(npy_intp pixels) { return pixels < 1 << 10 ? 4 : pixels < 1 << 14 ? 8 : 16; }

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

}  // namespace conv
