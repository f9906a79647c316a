// What training needs of a weight's posterior N(theta, sigma^2), and its gradient: one pass each.
//
// Blocks are summed one by one, in their order, so that the KL term does not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <vector>

namespace posterior {

constexpr npy_intp BLOCK = 2048;

// pruned_noise and pruned_kl are 1 where weights beyond the threshold have their share of it, else 0; `least` is added
// to what is kept, so that 0 says pruned.
template <typename T> struct Constants {
    T clip, epsilon, threshold, pruned_noise, pruned_kl, least, k1, k2, k3;
};

// Calls task(first, length) for blocks that cover 0 ... size - 1.
template <typename Task> void for_each_block(npy_intp size, const Task& task) {
    #pragma omp parallel for schedule(static) if (size > 8 * BLOCK)
    for (npy_intp first = 0; first < size; first += BLOCK)
        task(first, std::min(BLOCK, size - first));
}

template <typename T> T log_alpha_of(const Constants<T>& c, T theta, T log_sigma2) {
    return std::min(std::max(log_sigma2 - std::log(theta * theta + c.epsilon), -c.clip), c.clip);
}

template <typename T>
T forward(npy_intp size, const Constants<T>& c, const T* theta, const T* log_sigma2, T* kept, T* variance) {
    std::vector<double> sums((size + BLOCK - 1) / BLOCK);
    for_each_block(size, [&](npy_intp first, npy_intp length) {
        const T* __restrict__ w = theta + first;
        const T* __restrict__ ls = log_sigma2 + first;
        T* __restrict__ to_kept = kept + first;
        T* __restrict__ to_variance = variance + first;
        T kl[BLOCK];
        for (npy_intp i = 0; i < length; ++i) {
            const T square = w[i] * w[i];
            const T log_alpha = log_alpha_of(c, w[i], ls[i]);
            const T alpha = std::exp(log_alpha);
            const T sigmoid = 1 / (1 + std::exp(-(c.k2 + c.k3 * log_alpha)));
            const bool is_pruned = log_alpha >= c.threshold;
            to_kept[i] = is_pruned ? T(0) : w[i] + c.least;
            to_variance[i] = (is_pruned ? c.pruned_noise : T(1)) * alpha * square;
            kl[i] = (is_pruned ? c.pruned_kl : T(1)) * (c.k1 - c.k1 * sigmoid + T(0.5) * std::log(1 + 1 / alpha));
        }
        sums[first / BLOCK] = lane_sum(kl, length);
    });
    double total = 0;
    for (double sum : sums)
        total += sum;
    return T(total);
}

// d_theta may be the array to_kept, and d_log_sigma2 to_variance: each element is read before it is written.
template <typename T>
void backward_block(npy_intp length, const Constants<T> c, const T* w, const T* log_sigma2, const T* to_kept,
                    const T* to_variance, const T to_kl, T* d_theta, T* d_log_sigma2) {
    #pragma GCC ivdep
    for (npy_intp i = 0; i < length; ++i) {
        const T square = w[i] * w[i], shifted = square + c.epsilon;
        const T unclipped = log_sigma2[i] - std::log(shifted);
        const T log_alpha = std::min(std::max(unclipped, -c.clip), c.clip);
        // 1 where the clip lets the gradient pass, and where the weight is kept, has noise, has a share of KL.
        const T inside = log_alpha == unclipped ? T(1) : T(0);
        const bool is_pruned = log_alpha >= c.threshold;
        const T is_kept = is_pruned ? T(0) : T(1);
        const T has_noise = is_pruned ? c.pruned_noise : T(1), has_kl = is_pruned ? c.pruned_kl : T(1);
        const T alpha = std::exp(log_alpha);
        const T power = std::exp(-(c.k2 + c.k3 * log_alpha)), sigmoid = 1 / (1 + power);
        const T slope = -c.k1 * c.k3 * power * sigmoid * sigmoid - T(0.5) / (1 + alpha);  // of KL by log alpha
        const T by_kl = has_kl * inside * to_kl * slope, by_variance = has_noise * to_variance[i] * alpha;
        // alpha theta^2 hardly changes with theta where log alpha is not clipped: only by the epsilon.
        const T changes = 1 - inside + inside * c.epsilon / shifted;
        d_theta[i] = is_kept * to_kept[i] + 2 * w[i] * (by_variance * changes - by_kl / shifted);
        d_log_sigma2[i] = inside * by_variance * square + by_kl;
    }
}

template <typename T>
void backward(npy_intp size, const Constants<T>& c, const T* theta, const T* log_sigma2, const T* to_kept,
              const T* to_variance, T to_kl, T* d_theta, T* d_log_sigma2) {
    for_each_block(size, [&](npy_intp i, npy_intp length) {
        backward_block(length, c, theta + i, log_sigma2 + i, to_kept + i, to_variance + i, to_kl, d_theta + i,
                       d_log_sigma2 + i);
    });
}

// What c_code calls; false with a Python exception set.
template <typename T>
bool run_forward(const Constants<T>& c, PyArrayObject* theta, PyArrayObject* log_sigma2, PyArrayObject** kept,
                 PyArrayObject** variance, PyArrayObject** kl) {
    Contiguous w(theta), ls(log_sigma2);
    if (!w.array || !ls.array || !same_shape(w, ls))
        return false;
    const npy_intp* shape = PyArray_DIMS(w.array);
    const int ndim = PyArray_NDIM(w.array), type = PyArray_TYPE(theta);
    if (!prepare_output(kept, ndim, shape, type) || !prepare_output(variance, ndim, shape, type)
        || !prepare_output(kl, 0, shape, type))
        return false;
    return with_memory([&] {
        *(T*)PyArray_DATA(*kl) = forward(PyArray_SIZE(w.array), c, (const T*)w.data(), (const T*)ls.data(),
                                         (T*)PyArray_DATA(*kept), (T*)PyArray_DATA(*variance));
    });
}

template <typename T>
bool run_backward(const Constants<T>& c, bool in_place, PyArrayObject* theta, PyArrayObject* log_sigma2,
                  PyArrayObject* to_kept, PyArrayObject* to_variance, PyArrayObject* to_kl, PyArrayObject** d_theta,
                  PyArrayObject** d_log_sigma2) {
    Contiguous w(theta), ls(log_sigma2), g_kept(to_kept), g_variance(to_variance);
    if (!w.array || !ls.array || !g_kept.array || !g_variance.array || !same_shape(w, ls) || !same_shape(w, g_kept)
        || !same_shape(w, g_variance))
        return false;
    if (!prepare_output_like(d_theta, g_kept, in_place) || !prepare_output_like(d_log_sigma2, g_variance, in_place))
        return false;
    backward(PyArray_SIZE(w.array), c, (const T*)w.data(), (const T*)ls.data(), (const T*)g_kept.data(),
             (const T*)g_variance.data(), *(const T*)PyArray_DATA(to_kl), (T*)PyArray_DATA(*d_theta),
             (T*)PyArray_DATA(*d_log_sigma2));
    return true;
}

}  // namespace posterior
