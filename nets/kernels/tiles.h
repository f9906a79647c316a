// Products of matrices in register tiles: TILE_ROWS rows of one matrix by a panel, PANEL columns, of another.
//
// The rows are packed in the order in which a tile reads them. Each sum goes over the depth in its order, whatever the
// alignment.

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <new>
#include <type_traits>
#include <utility>

namespace tiles {

// The largest register tile, TILE_ROWS rows of 2 vectors, leaves room for a row of the panel and a broadcast weight.
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, TILE_ROWS = 12;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, TILE_ROWS = 6;
#elif defined(__aarch64__)
constexpr int VECTOR_BYTES = 16, TILE_ROWS = 12;
#else
constexpr int VECTOR_BYTES = 16, TILE_ROWS = 6;
#endif

template <typename T> struct Lanes {
    typedef T vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
    static constexpr int COUNT = VECTOR_BYTES / sizeof(T), PANEL = 2 * COUNT;
};

// The numbers, of weights or of shares of their gradients, above which packing or adding up is done by all threads.
constexpr npy_intp WORTH_THREADS = 1 << 15;

inline npy_intp ceil_div(npy_intp a, npy_intp b) { return (a + b - 1) / b; }

// Memory that was given back waits here for the next call: new memory from the system costs as much as a product.
// Python's lock protects it, if threads of one operation leave it alone.
class Pool {
    std::multimap<size_t, void*> blocks;

public:
    static Pool& the() {
        static Pool* pool = new Pool;  // never destroyed: the last Array may outlive it
        return *pool;
    }
    std::pair<size_t, void*> take(size_t bytes) {
        const auto found = blocks.lower_bound(bytes);
        if (found != blocks.end() && found->first <= 2 * bytes) {
            const std::pair<size_t, void*> block = *found;
            blocks.erase(found);
            return block;
        }
        // The largest block that is too small makes room, or sizes that grow from call to call would all be kept.
        if (found != blocks.begin()) {
            const auto smaller = std::prev(found);
            free(smaller->second);
            blocks.erase(smaller);
        }
        void* pointer = NULL;
        if (posix_memalign(&pointer, 64, bytes))
            throw std::bad_alloc();
        return {bytes, pointer};
    }
    void give_back(const std::pair<size_t, void*>& block) noexcept {
        try {
            blocks.insert(block);
        } catch (const std::bad_alloc&) {
            free(block.second);
        }
    }
};

// Uninitialized memory, aligned to cache lines.
template <typename T> class Array {
    std::pair<size_t, void*> block;

public:
    explicit Array(npy_intp size) : block(Pool::the().take(std::max<npy_intp>(size, 1) * sizeof(T))) {}
    Array(Array&& other) : block(other.block) { other.block.second = NULL; }
    ~Array() {
        if (block.second)
            Pool::the().give_back(block);
    }
    operator T*() const { return static_cast<T*>(block.second); }
};

// Rows of a matrix in tiles of at most TILE_ROWS rows, as equal as possible.
struct Tiles {
    npy_intp rows, count;
    explicit Tiles(npy_intp rows) : rows(rows), count(ceil_div(rows, TILE_ROWS)) {}
    npy_intp begin(npy_intp tile) const { return tile * rows / count; }
    int size(npy_intp tile) const { return int(begin(tile + 1) - begin(tile)); }
};

// The matrix a[row * row_stride + step * step_stride] in the order in which tiles read it: tile, step, row.
template <typename T>
void pack(const Tiles& tiles, npy_intp depth, const T* a, npy_intp row_stride, npy_intp step_stride, T* packed) {
    #pragma omp parallel for schedule(static) if (tiles.rows * depth > WORTH_THREADS)
    for (npy_intp tile = 0; tile < tiles.count; ++tile) {
        const T* from = a + tiles.begin(tile) * row_stride;
        T* to = packed + tiles.begin(tile) * depth;
        const int size = tiles.size(tile);
        for (npy_intp step = 0; step < depth; ++step)
            for (int row = 0; row < size; ++row)
                *to++ = from[row * row_stride + step * step_stride];
    }
}

// A tile in registers: ROWS rows of a panel, or of its left half.
template <typename T, int ROWS, int HALVES = 2> struct Tile {
    typedef typename Lanes<T>::vector Vector;
    static constexpr int COUNT = Lanes<T>::COUNT, PANEL = Lanes<T>::PANEL;
    Vector sums[ROWS][HALVES];

    static Vector load(const T* from) { return *reinterpret_cast<const Vector*>(from); }

    inline __attribute__((always_inline)) void clear() {
        for (int row = 0; row < ROWS; ++row)
            for (int half = 0; half < HALVES; ++half)
                sums[row][half] = Vector{};
    }
    inline __attribute__((always_inline)) void read(const T* from, npy_intp stride) {
        for (int row = 0; row < ROWS; ++row)
            for (int half = 0; half < HALVES; ++half)
                sums[row][half] = load(from + row * stride + half * COUNT);
    }
    inline __attribute__((always_inline)) void write(T* to, npy_intp stride) const {
        for (int row = 0; row < ROWS; ++row)
            for (int half = 0; half < HALVES; ++half)
                *reinterpret_cast<Vector*>(to + row * stride + half * COUNT) = sums[row][half];
    }
    inline __attribute__((always_inline)) void times_twice(const T* factors) {
        for (int row = 0; row < ROWS; ++row)
            for (int half = 0; half < HALVES; ++half)
                sums[row][half] *= load(factors + row * PANEL + half * COUNT) * T(2);
    }
    // Adds the product of a, ROWS x depth, and b, depth x PANEL (or its left half).
    template <int ROW_STRIDE, int STEP_STRIDE>
    inline __attribute__((always_inline)) void add_product(npy_intp depth, const T* a, const T* b) {
        for (npy_intp step = 0; step < depth; ++step, a += STEP_STRIDE, b += PANEL) {
            Vector factors[HALVES];
            for (int half = 0; half < HALVES; ++half)
                factors[half] = load(b + half * COUNT);
            for (int row = 0; row < ROWS; ++row)
                for (int half = 0; half < HALVES; ++half)
                    sums[row][half] += a[row * ROW_STRIDE] * factors[half];
        }
    }
};

// Calls task(std::integral_constant<int, rows>()), so that the number of rows is known when it is compiled.
template <int MOST = TILE_ROWS, typename Task> inline void with_rows(int rows, const Task& task) {
    if (rows == MOST)
        task(std::integral_constant<int, MOST>());
    else if constexpr (MOST > 1)
        with_rows<MOST - 1>(rows, task);
}

}  // namespace tiles
