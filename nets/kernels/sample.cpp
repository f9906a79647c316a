// mean + sqrt(variance + epsilon) noise + b, rectified or not, in one pass, and the gradients in another.
//
// Channels are axis 1, as b's. The results do not depend on the number of threads.

#include <cmath>
#include <vector>

namespace sample {

// Less takes less than the wait for a thread.
constexpr npy_intp WORTH_THREADS = 1 << 14;

template <bool RECTIFY, typename T> inline T nonlinearity(T value) {
    return RECTIFY && value < 0 ? T(0) : value;  // NaN stays NaN
}

// z may be the array mean: each element is read before it is written. GCC vectorizes the loop only in a function of its
// own.
template <bool RECTIFY, typename T, typename Bias>
void forward_block(npy_intp length, T epsilon, const T* mean, const T* variance, const T* noise, Bias bias, T* z) {
    #pragma GCC ivdep
    for (npy_intp i = 0; i < length; ++i)
        z[i] = nonlinearity<RECTIFY>(mean[i] + std::sqrt(variance[i] + epsilon) * noise[i] + bias(i));
}

template <bool RECTIFY, typename T>
void forward(const Planes& s, T epsilon, const T* mean, const T* variance, const T* noise, const T* b, T* z) {
    const npy_intp rows = s.pixels == 1 ? 1 : s.channels, length = s.pixels == 1 ? s.channels : s.pixels;
    #pragma omp parallel for schedule(static) if (s.size() > WORTH_THREADS)
    for (npy_intp image = 0; image < s.images; ++image)
        for (npy_intp row = 0; row < rows; ++row) {
            const npy_intp i = (image * rows + row) * length;
            if (s.pixels == 1)
                forward_block<RECTIFY>(length, epsilon, mean + i, variance + i, noise + i,
                                       [b](npy_intp channel) { return b[channel]; }, z + i);
            else
                forward_block<RECTIFY>(length, epsilon, mean + i, variance + i, noise + i,
                                       [bias = b[row]](npy_intp) { return bias; }, z + i);
        }
}

// d_mean may be the array g, and d_variance the variance: each element is read before it is written.
template <bool RECTIFY, typename T>
void backward_block(npy_intp length, T epsilon, const T* variance, const T* noise, const T* z, const T* g, T* d_mean,
                    T* d_variance) {
    #pragma GCC ivdep
    for (npy_intp i = 0; i < length; ++i) {
        const T passed = RECTIFY && z[i] <= 0 ? T(0) : g[i];  // at NaN, g passes
        if (RECTIFY)
            d_mean[i] = passed;
        d_variance[i] = passed * noise[i] * T(0.5) / std::sqrt(variance[i] + epsilon);
    }
}

// Without RECTIFY, the gradient to the mean is g, and d_mean and z are not used.
template <bool RECTIFY, typename T>
void backward(const Planes& s, T epsilon, const T* variance, const T* noise, const T* z, const T* g, T* d_mean,
              T* d_variance, T* d_b) {
    const npy_intp row = s.channels * s.pixels;
    const T* passed = RECTIFY ? d_mean : g;
    std::vector<double> sums(s.pixels == 1 ? 0 : s.images * s.channels), totals(s.channels);
    #pragma omp parallel for schedule(static) if (s.size() > WORTH_THREADS)
    for (npy_intp image = 0; image < s.images; ++image) {
        const npy_intp i = image * row;
        backward_block<RECTIFY>(row, epsilon, variance + i, noise + i, RECTIFY ? z + i : NULL, g + i,
                                RECTIFY ? d_mean + i : NULL, d_variance + i);
        for (npy_intp channel = 0; s.pixels != 1 && channel < s.channels; ++channel)
            sums[image * s.channels + channel] = lane_sum(passed + i + channel * s.pixels, s.pixels);
    }
    for (npy_intp image = 0; image < s.images; ++image)
        for (npy_intp channel = 0; channel < s.channels; ++channel)
            totals[channel] += s.pixels == 1 ? double(passed[image * row + channel])
                                             : sums[image * s.channels + channel];
    for (npy_intp channel = 0; channel < s.channels; ++channel)
        d_b[channel] = T(totals[channel]);
}

// What c_code calls; false with a Python exception set. In place, the mean becomes the result.
template <bool RECTIFY, typename T>
bool run_forward(T epsilon, bool in_place, PyArrayObject* mean, PyArrayObject* variance, PyArrayObject* noise,
                 PyArrayObject* b, PyArrayObject** z) {
    Contiguous m(mean), v(variance), n(noise), shift(b);
    if (!m.array || !v.array || !n.array || !shift.array || !same_shape(m, v) || !same_shape(m, n)
        || !fits_channels(shift, m) || !prepare_output_like(z, m, in_place))
        return false;
    forward<RECTIFY>(Planes(m.array), epsilon, (const T*)m.data(), (const T*)v.data(), (const T*)n.data(),
                     (const T*)shift.data(), (T*)PyArray_DATA(*z));
    return true;
}

// z and d_mean are NULL without RECTIFY. In place, g and the variance become the gradients.
template <bool RECTIFY, typename T>
bool run_backward(T epsilon, bool in_place, PyArrayObject* variance, PyArrayObject* noise, PyArrayObject* z,
                  PyArrayObject* g, PyArrayObject** d_mean, PyArrayObject** d_variance, PyArrayObject** d_b) {
    Contiguous v(variance), n(noise), output(RECTIFY ? z : g), gradient(g);
    if (!v.array || !n.array || !output.array || !gradient.array || !same_shape(v, n) || !same_shape(v, output)
        || !same_shape(v, gradient))
        return false;
    const Planes s(v.array);
    if ((RECTIFY && !prepare_output_like(d_mean, gradient, in_place)) || !prepare_output_like(d_variance, v, in_place)
        || !prepare_output(d_b, 1, &s.channels, PyArray_TYPE(v.array)))
        return false;
    return with_memory([&] {
        backward<RECTIFY>(s, epsilon, (const T*)v.data(), (const T*)n.data(), (const T*)output.data(),
                          (const T*)gradient.data(), RECTIFY ? (T*)PyArray_DATA(*d_mean) : NULL,
                          (T*)PyArray_DATA(*d_variance), (T*)PyArray_DATA(*d_b));
    });
}

}  // namespace sample
