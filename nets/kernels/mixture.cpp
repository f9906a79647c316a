// -log of the density of a mixture of Gaussians, summed over weights, and its gradients: one pass over the weights.
//
// A component is a mean m, a precision p and a constant k: its log density times share is k - p / 2 (w - m)^2. Blocks
// are summed one by one, in their order, so that results do not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace mixture {

constexpr npy_intp BLOCK = 512;

// The sums of a block's responsibilities, and of these times distances and their squares, by component; then the value.
template <typename T>
void block(npy_intp length, npy_intp components, const T* weights, const T* means, const T* precisions,
           const T* constants, T* __restrict__ terms, T* __restrict__ d_weights, double* sums) {
    T largest[BLOCK], total[BLOCK], scratch[BLOCK];
    std::fill_n(largest, length, -std::numeric_limits<T>::infinity());
    std::fill_n(total, length, T(0));
    std::fill_n(d_weights, length, T(0));
    for (npy_intp c = 0; c < components; ++c) {
        T* __restrict__ row = terms + c * BLOCK;
        for (npy_intp i = 0; i < length; ++i) {
            const T distance = weights[i] - means[c];
            row[i] = constants[c] - precisions[c] / 2 * distance * distance;
            largest[i] = std::max(largest[i], row[i]);
        }
    }
    for (npy_intp c = 0; c < components; ++c) {
        T* __restrict__ row = terms + c * BLOCK;
        for (npy_intp i = 0; i < length; ++i) {
            row[i] = std::exp(row[i] - largest[i]);
            total[i] += row[i];
        }
    }
    for (npy_intp i = 0; i < length; ++i) {
        scratch[i] = largest[i] + std::log(total[i]);
        total[i] = 1 / total[i];
    }
    sums[3 * components] = lane_sum(scratch, length);
    for (npy_intp c = 0; c < components; ++c, sums += 3) {
        T* __restrict__ row = terms + c * BLOCK;
        T squares[BLOCK];
        for (npy_intp i = 0; i < length; ++i) {
            const T responsibility = row[i] * total[i], distance = weights[i] - means[c];
            row[i] = responsibility;
            scratch[i] = responsibility * distance;
            squares[i] = scratch[i] * distance;
            d_weights[i] += precisions[c] * scratch[i];
        }
        sums[0] = lane_sum(row, length);
        sums[1] = lane_sum(scratch, length);
        sums[2] = lane_sum(squares, length);
    }
}

// What c_code calls; false with a Python exception set.
template <typename T>
bool run(PyArrayObject* weights, PyArrayObject* means, PyArrayObject* precisions, PyArrayObject* constants,
         PyArrayObject** value, PyArrayObject** d_weights, PyArrayObject** d_means, PyArrayObject** d_precisions,
         PyArrayObject** d_constants) {
    Contiguous w(weights), m(means), p(precisions), k(constants);
    if (!w.array || !m.array || !p.array || !k.array || !same_shape(m, p) || !same_shape(m, k))
        return false;
    const npy_intp size = w.length(0), components = m.length(0), type = PyArray_TYPE(weights);
    PyArrayObject** vectors[] = {d_means, d_precisions, d_constants};
    if (!prepare_output(value, 0, &size, type) || !prepare_output(d_weights, 1, &size, type))
        return false;
    for (PyArrayObject** vector : vectors)
        if (!prepare_output(vector, 1, &components, type))
            return false;

    const npy_intp blocks = (size + BLOCK - 1) / BLOCK, numbers = 3 * components + 1;
    int threads = 1;
#ifdef _OPENMP
    if (blocks > 8)
        threads = omp_get_max_threads();
#endif
    return with_memory([&] {
        std::vector<double> sums(blocks * numbers), totals(numbers);
        std::vector<T> terms(threads * components * BLOCK);
        #pragma omp parallel for schedule(static) num_threads(threads)
        for (int thread = 0; thread < threads; ++thread)
            for (npy_intp number = thread * blocks / threads; number < (thread + 1) * blocks / threads; ++number) {
                const npy_intp first = number * BLOCK;
                block(std::min(BLOCK, size - first), components, (const T*)w.data() + first, (const T*)m.data(),
                      (const T*)p.data(), (const T*)k.data(), terms.data() + thread * components * BLOCK,
                      (T*)PyArray_DATA(*d_weights) + first, sums.data() + number * numbers);
            }
        for (npy_intp number = 0; number < blocks; ++number)
            for (npy_intp i = 0; i < numbers; ++i)
                totals[i] += sums[number * numbers + i];
        for (npy_intp c = 0; c < components; ++c) {
            ((T*)PyArray_DATA(*d_constants))[c] = T(-totals[3 * c]);
            ((T*)PyArray_DATA(*d_means))[c] = T(-((const T*)p.data())[c] * totals[3 * c + 1]);
            ((T*)PyArray_DATA(*d_precisions))[c] = T(totals[3 * c + 2] / 2);
        }
        *(T*)PyArray_DATA(*value) = T(-totals[3 * components]);
    });
}

}  // namespace mixture
