// Sums in an order that does not depend on how the numbers are aligned.

// Of `size` numbers, in lanes that GCC makes vectors of.
template <typename T> double lane_sum(const T* values, npy_intp size) {
    constexpr int LANES = 16;
    constexpr npy_intp CHUNK = 2048;  // short enough for sums in T
    double total = 0;
    for (npy_intp first = 0; first < size; first += CHUNK, values += CHUNK) {
        const npy_intp length = size - first < CHUNK ? size - first : CHUNK;
        T lanes[LANES] = {};
        npy_intp i = 0;
        for (; i + LANES <= length; i += LANES)
            for (int lane = 0; lane < LANES; ++lane)
                lanes[lane] += values[i + lane];
        for (int lane = 0; i < length; ++i, ++lane)
            lanes[lane] += values[i];
        double sum = 0;
        for (T lane : lanes)
            sum += lane;
        total += sum;
    }
    return total;
}

// An array of any number of dimensions as (images, channels, pixels of a plane).
struct Planes {
    npy_intp images, channels, pixels;
    explicit Planes(PyArrayObject* array) : images(PyArray_DIM(array, 0)), channels(PyArray_DIM(array, 1)), pixels(1) {
        for (int axis = 2; axis < PyArray_NDIM(array); ++axis)
            pixels *= PyArray_DIM(array, axis);
    }
    npy_intp size() const { return images * channels * pixels; }
};
