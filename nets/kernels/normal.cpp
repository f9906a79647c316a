/* Standard normal numbers from Philox4x32-10 and the Box-Muller transform; nets/kernels/normal.py says what they are.
 *
 * Every loop over a chunk's blocks is one that GCC vectorizes; with the project's flags, logf, sinf and cosf too.
 */

#include <math.h>

#define NORMAL_BLOCKS 256                 /* Philox blocks, of 4 words each, that are worked on together */
#define NORMAL_CHUNK (4 * NORMAL_BLOCKS)  /* the numbers that they give */
#define NORMAL_PARALLEL 128               /* fewer chunks take less than the wait for a thread on a busy machine */

/* words[j][i] is word j of the block with counter (first + i, draw). */
static void normal_philox(npy_uint32 words[4][NORMAL_BLOCKS], npy_uint64 key, npy_uint64 draw, npy_uint64 first)
{
    for (int i = 0; i < NORMAL_BLOCKS; ++i) {
        /* Words in 64 bits, of which the upper half is ignored: the products need no shuffling between vectors. */
        const npy_uint64 low = 0xffffffff;
        npy_uint64 x0 = first + i, x1 = x0 >> 32, x2 = draw, x3 = draw >> 32;
        npy_uint32 key0 = (npy_uint32)key, key1 = (npy_uint32)(key >> 32);
        for (int round = 0; round < 10; ++round) {
            const npy_uint64 product0 = (x0 & low) * 0xD2511F53, product1 = (x2 & low) * 0xCD9E8D57;
            x0 = (product1 >> 32) ^ x1 ^ key0;
            x1 = product1;
            x2 = (product0 >> 32) ^ x3 ^ key1;
            x3 = product0;
            key0 += 0x9E3779B9;
            key1 += 0xBB67AE85;
        }
        words[0][i] = (npy_uint32)x0;
        words[1][i] = (npy_uint32)x1;
        words[2][i] = (npy_uint32)x2;
        words[3][i] = (npy_uint32)x3;
    }
}

/* From two random words for each block, two independent normal numbers. */
static void normal_box_muller(float cosines[NORMAL_BLOCKS], float sines[NORMAL_BLOCKS],
                              const npy_uint32 words0[NORMAL_BLOCKS], const npy_uint32 words1[NORMAL_BLOCKS])
{
    float radius[NORMAL_BLOCKS], angle[NORMAL_BLOCKS];
    for (int i = 0; i < NORMAL_BLOCKS; ++i) {
        /* Conversions of signed integers are fast everywhere. u is from 2^-32 to 1, both included. */
        const float u = (float)(npy_int32)(words0[i] >> 1) * 4.656612873e-10f + 2.328306437e-10f;
        /* The absolute value: a vectorized logarithm may be off in the last bits, and so above 0, where u is 1. */
        radius[i] = sqrtf(fabsf(2.0f * logf(u)));
        angle[i] = (float)(npy_int32)words1[i] * 1.462918079e-9f;
    }
    /* Two loops: of sine and cosine of the same angle, GCC makes one call that it does not vectorize. */
    for (int i = 0; i < NORMAL_BLOCKS; ++i)
        cosines[i] = radius[i] * cosf(angle[i]);
    for (int i = 0; i < NORMAL_BLOCKS; ++i)
        sines[i] = radius[i] * sinf(angle[i]);
}

/* Numbers [0, count) of draw `draw`, as float or as double, whichever is not NULL. */
static void normal_fill(float *floats, double *doubles, npy_intp count, npy_uint64 key, npy_uint64 draw)
{
    const npy_intp chunks = (count + NORMAL_CHUNK - 1) / NORMAL_CHUNK;
    #pragma omp parallel for schedule(static) if (chunks >= NORMAL_PARALLEL)
    for (npy_intp chunk = 0; chunk < chunks; ++chunk) {
        npy_uint32 words[4][NORMAL_BLOCKS];
        float numbers[4][NORMAL_BLOCKS];
        normal_philox(words, key, draw, (npy_uint64)chunk * NORMAL_BLOCKS);
        normal_box_muller(numbers[0], numbers[1], words[0], words[1]);
        normal_box_muller(numbers[2], numbers[3], words[2], words[3]);

        const npy_intp start = chunk * NORMAL_CHUNK;
        const npy_intp length = count - start < NORMAL_CHUNK ? count - start : NORMAL_CHUNK;
        const float *source = numbers[0];
        if (floats)
            for (npy_intp i = 0; i < length; ++i)
                floats[start + i] = source[i];
        else
            for (npy_intp i = 0; i < length; ++i)
                doubles[start + i] = source[i];
    }
}

/* Draws into *out, a new array unless the old one fits. Returns 0, or -1 with a Python exception set. */
static int normal_draw(PyArrayObject **out, int ndim, int typenum, PyArrayObject *state, PyArrayObject *size)
{
    if (PyArray_DIM(state, 0) != 2) {
        PyErr_SetString(PyExc_ValueError, "the state of a normal stream has two elements: seed and draw number");
        return -1;
    }
    if (PyArray_DIM(size, 0) != ndim) {
        PyErr_Format(PyExc_ValueError, "the size has %ld elements, the numbers have %d dimensions",
                     (long)PyArray_DIM(size, 0), ndim);
        return -1;
    }
    npy_intp shape[NPY_MAXDIMS];
    int fits = *out != NULL && PyArray_IS_C_CONTIGUOUS(*out);
    for (int i = 0; i < ndim; ++i) {
        shape[i] = (npy_intp)*(npy_int64 *)PyArray_GETPTR1(size, i);
        if (shape[i] < 0) {
            PyErr_Format(PyExc_ValueError, "negative size %ld of dimension %d", (long)shape[i], i);
            return -1;
        }
        fits = fits && PyArray_DIM(*out, i) == shape[i];
    }
    if (!fits) {
        Py_XDECREF(*out);
        *out = (PyArrayObject *)PyArray_SimpleNew(ndim, shape, typenum);
        if (*out == NULL)
            return -1;
    }
    void *data = PyArray_DATA(*out);
    normal_fill(typenum == NPY_FLOAT32 ? (float *)data : NULL, typenum == NPY_FLOAT64 ? (double *)data : NULL,
                PyArray_SIZE(*out), *(npy_uint64 *)PyArray_GETPTR1(state, 0), *(npy_uint64 *)PyArray_GETPTR1(state, 1));
    return 0;
}
