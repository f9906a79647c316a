// A step of Adam in one pass over a parameter, its gradient and the two averages.

#include <cmath>

namespace adam {

// Fewer numbers take less than the wait for a thread.
constexpr npy_intp WORTH_THREADS = 1 << 15, BLOCK = 4096;

template <typename T> struct Constants {
    T beta1, beta2, epsilon;
};

// In place, x, mean and square are from's arrays: each element is read before it is written.
template <typename T>
void block(npy_intp size, const Constants<T> c, T rate, const T* from_x, const T* __restrict__ g, const T* from_mean,
           const T* from_square, T* x, T* mean, T* square) {
    #pragma GCC ivdep
    for (npy_intp i = 0; i < size; ++i) {
        const T new_mean = c.beta1 * from_mean[i] + (1 - c.beta1) * g[i];
        const T new_square = c.beta2 * from_square[i] + (1 - c.beta2) * g[i] * g[i];
        mean[i] = new_mean;
        square[i] = new_square;
        x[i] = from_x[i] - rate * new_mean / (std::sqrt(new_square) + c.epsilon);
    }
}

// What c_code calls; false with a Python exception set.
template <typename T>
bool run(const Constants<T>& c, bool in_place, PyArrayObject* param, PyArrayObject* gradient, PyArrayObject* mean,
         PyArrayObject* square, PyArrayObject* rate, PyArrayObject** new_param, PyArrayObject** new_mean,
         PyArrayObject** new_square) {
    Contiguous x(param), g(gradient), m(mean), s(square);
    if (!x.array || !g.array || !m.array || !s.array || !same_shape(x, g) || !same_shape(x, m) || !same_shape(x, s)
        || !prepare_output_like(new_param, x, in_place) || !prepare_output_like(new_mean, m, in_place)
        || !prepare_output_like(new_square, s, in_place))
        return false;
    const T step = *(const T*)PyArray_DATA(rate);
    const npy_intp size = PyArray_SIZE(x.array);
    T* const to_x = (T*)PyArray_DATA(*new_param);
    T* const to_mean = (T*)PyArray_DATA(*new_mean);
    T* const to_square = (T*)PyArray_DATA(*new_square);
    #pragma omp parallel for schedule(static) if (size > WORTH_THREADS)
    for (npy_intp i = 0; i < size; i += BLOCK)
        block(size - i < BLOCK ? size - i : BLOCK, c, step, (const T*)x.data() + i, (const T*)g.data() + i,
              (const T*)m.data() + i, (const T*)s.data() + i, to_x + i, to_mean + i, to_square + i);
    return true;
}

}  // namespace adam
