// Batch normalization in training, rectified or not, and its gradients. Channels are axis 1, each worked on by one
// thread, so that the results do not depend on their number.

#include <cmath>

namespace batch_norm {

// Less takes less than the wait for a thread.
constexpr npy_intp WORTH_THREADS = 1 << 14;

// Calls task(first, pixels) for each image's plane of a channel, if planes are large enough for loops of their own.
template <typename Task> void for_each_plane(const Planes& s, npy_intp channel, const Task& task) {
    for (npy_intp image = 0; image < s.images; ++image)
        task((image * s.channels + channel) * s.pixels, s.pixels);
}

template <typename T> inline double sum_plane(const T* values, npy_intp size) {
    return size == 1 ? double(*values) : lane_sum(values, size);
}

// The sum of (values - center)^2.
template <typename T> double squares_plane(const T* values, T center, npy_intp size) {
    constexpr npy_intp CHUNK = 256;
    T squares[CHUNK];
    double total = 0;
    for (npy_intp first = 0; first < size; first += CHUNK) {
        const npy_intp length = size - first < CHUNK ? size - first : CHUNK;
        for (npy_intp i = 0; i < length; ++i)
            squares[i] = (values[first + i] - center) * (values[first + i] - center);
        total += sum_plane(squares, length);
    }
    return total;
}

template <bool RECTIFY, typename T>
void scale_plane(const T* __restrict__ x, T scale, T shift, T* __restrict__ y, npy_intp size) {
    for (npy_intp i = 0; i < size; ++i) {
        const T value = x[i] * scale + shift;
        y[i] = RECTIFY && value < 0 ? T(0) : value;  // NaN stays NaN
    }
}

template <bool RECTIFY, typename T>
void forward(const Planes& s, T epsilon, const T* x, const T* gamma, const T* beta, T* y, T* mean, T* inv_std) {
    const double count = double(s.images) * s.pixels;
    #pragma omp parallel for schedule(static) if (s.size() > WORTH_THREADS)
    for (npy_intp channel = 0; channel < s.channels; ++channel) {
        double sum = 0, squares = 0;
        for_each_plane(s, channel, [&](npy_intp first, npy_intp size) { sum += sum_plane(x + first, size); });
        const T center = T(sum / count);
        for_each_plane(s, channel, [&](npy_intp first, npy_intp size) {
            squares += squares_plane(x + first, center, size);
        });
        mean[channel] = center;
        inv_std[channel] = T(1 / std::sqrt(squares / count + epsilon));
        const T scale = gamma[channel] * inv_std[channel], shift = beta[channel] - center * scale;
        for_each_plane(s, channel, [&](npy_intp first, npy_intp size) {
            scale_plane<RECTIFY>(x + first, scale, shift, y + first, size);
        });
    }
}

// Of the gradients that pass the rectifier: their sum, and that of their products with x - center.
template <bool RECTIFY, typename T>
void sums_plane(const T* x, const T* y, const T* g, T center, npy_intp size, double* sum, double* products) {
    constexpr npy_intp CHUNK = 256;
    T passed[CHUNK], product[CHUNK];
    for (npy_intp first = 0; first < size; first += CHUNK) {
        const npy_intp length = size - first < CHUNK ? size - first : CHUNK;
        for (npy_intp i = 0; i < length; ++i) {
            passed[i] = RECTIFY && y[first + i] <= 0 ? T(0) : g[first + i];  // at NaN, g passes
            product[i] = passed[i] * (x[first + i] - center);
        }
        *sum += sum_plane(passed, length);
        *products += sum_plane(product, length);
    }
}

// dx may be g's array.
template <bool RECTIFY, typename T>
void backward_plane(const T* __restrict__ x, const T* __restrict__ y, const T* g, T scale, T slope, T constant, T* dx,
                    npy_intp size) {
    #pragma GCC ivdep
    for (npy_intp i = 0; i < size; ++i) {
        const T passed = RECTIFY && y[i] <= 0 ? T(0) : g[i];
        dx[i] = scale * passed - slope * x[i] - constant;
    }
}

// y is used with RECTIFY only.
template <bool RECTIFY, typename T>
void backward(const Planes& s, const T* x, const T* gamma, const T* mean, const T* inv_std, const T* y, const T* g,
              T* dx, T* d_gamma, T* d_beta) {
    const double count = double(s.images) * s.pixels;
    #pragma omp parallel for schedule(static) if (s.size() > WORTH_THREADS)
    for (npy_intp channel = 0; channel < s.channels; ++channel) {
        double sum = 0, products = 0;
        for_each_plane(s, channel, [&](npy_intp first, npy_intp size) {
            sums_plane<RECTIFY>(x + first, y + first, g + first, mean[channel], size, &sum, &products);
        });
        d_beta[channel] = T(sum);
        d_gamma[channel] = T(products * inv_std[channel]);
        // dx = scale (g - sum / n - (x - mean) inv_std^2 products / n)
        const double scale = double(gamma[channel]) * inv_std[channel];
        const double slope = scale * inv_std[channel] * inv_std[channel] * products / count;
        const double constant = scale * sum / count - slope * mean[channel];
        for_each_plane(s, channel, [&](npy_intp first, npy_intp size) {
            backward_plane<RECTIFY>(x + first, y + first, g + first, T(scale), T(slope), T(constant), dx + first,
                                    size);
        });
    }
}

// What c_code calls; false with a Python exception set.
template <bool RECTIFY, typename T>
bool run_forward(T epsilon, PyArrayObject* x, PyArrayObject* gamma, PyArrayObject* beta, PyArrayObject** y,
                 PyArrayObject** mean, PyArrayObject** inv_std) {
    Contiguous input(x), scale(gamma), shift(beta);
    if (!input.array || !scale.array || !shift.array || !fits_channels(scale, input) || !fits_channels(shift, input)
        || !prepare_output_like(y, input, false) || !prepare_output_like(mean, scale, false)
        || !prepare_output_like(inv_std, scale, false))
        return false;
    forward<RECTIFY>(Planes(input.array), epsilon, (const T*)input.data(), (const T*)scale.data(),
                     (const T*)shift.data(), (T*)PyArray_DATA(*y), (T*)PyArray_DATA(*mean),
                     (T*)PyArray_DATA(*inv_std));
    return true;
}

// In place, g becomes dx. y is NULL without RECTIFY.
template <bool RECTIFY, typename T>
bool run_backward(bool in_place, PyArrayObject* x, PyArrayObject* gamma, PyArrayObject* mean, PyArrayObject* inv_std,
                  PyArrayObject* y, PyArrayObject* g, PyArrayObject** dx, PyArrayObject** d_gamma,
                  PyArrayObject** d_beta) {
    Contiguous input(x), scale(gamma), center(mean), inverse(inv_std), output(RECTIFY ? y : g), gradient(g);
    if (!input.array || !scale.array || !center.array || !inverse.array || !output.array || !gradient.array
        || !same_shape(input, gradient) || !same_shape(input, output) || !fits_channels(scale, input)
        || !fits_channels(center, input) || !fits_channels(inverse, input)
        || !prepare_output_like(dx, gradient, in_place) || !prepare_output_like(d_gamma, scale, false)
        || !prepare_output_like(d_beta, scale, false))
        return false;
    backward<RECTIFY>(Planes(input.array), (const T*)input.data(), (const T*)scale.data(), (const T*)center.data(),
                      (const T*)inverse.data(), (const T*)output.data(), (const T*)gradient.data(),
                      (T*)PyArray_DATA(*dx), (T*)PyArray_DATA(*d_gamma), (T*)PyArray_DATA(*d_beta));
    return true;
}

}  // namespace batch_norm
