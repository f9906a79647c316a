// What the C++ operations share: the storage of their arrays, and whether those fit.

#include <new>

// Makes *output a C-contiguous array of this shape, and keeps the one that is there if it is one. False: out of memory.
static bool prepare_output(PyArrayObject** output, int ndim, const npy_intp* shape, int type) {
    if (*output && PyArray_NDIM(*output) == ndim && PyArray_IS_C_CONTIGUOUS(*output)
        && PyArray_ISWRITEABLE(*output) && PyArray_CompareLists(PyArray_DIMS(*output), shape, ndim))
        return true;
    Py_XDECREF(*output);
    *output = (PyArrayObject*)PyArray_EMPTY(ndim, const_cast<npy_intp*>(shape), type, 0);
    return *output != NULL;
}

// A C-contiguous view or copy of an array, while it is in scope.
struct Contiguous {
    PyArrayObject* array;
    explicit Contiguous(PyArrayObject* input) : array(PyArray_GETCONTIGUOUS(input)) {}
    ~Contiguous() { Py_XDECREF(array); }
    Contiguous(const Contiguous&) = delete;
    Contiguous& operator=(const Contiguous&) = delete;
    void* data() const { return PyArray_DATA(array); }
    npy_intp length(int axis) const { return PyArray_DIM(array, axis); }
};

// Whether two arrays are of one shape; otherwise false, with a Python exception set.
static bool same_shape(const Contiguous& one, const Contiguous& other) {
    if (PyArray_SAMESHAPE(one.array, other.array))
        return true;
    PyErr_SetString(PyExc_ValueError, "the operands are not of one shape");
    return false;
}

// Whether a vector has an element for each channel, axis 1, of an array; otherwise false, with a Python exception set.
static bool fits_channels(const Contiguous& vector, const Contiguous& array) {
    if (vector.length(0) == array.length(1))
        return true;
    PyErr_Format(PyExc_ValueError, "a vector of %zd elements does not fit %zd channels", vector.length(0),
                 array.length(1));
    return false;
}

// Makes *output the array of an input that it may overwrite, or else an array like it. False: out of memory.
static bool prepare_output_like(PyArrayObject** output, const Contiguous& input, bool in_place) {
    if (!in_place)
        return prepare_output(output, PyArray_NDIM(input.array), PyArray_DIMS(input.array),
                              PyArray_TYPE(input.array));
    Py_INCREF(input.array);
    Py_XDECREF(*output);
    *output = input.array;
    return true;
}

// Does a task; false, with a Python exception set, if it runs out of memory.
template <typename Task> bool with_memory(const Task& task) {
    try {
        task();
        return true;
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
        return false;
    }
}
