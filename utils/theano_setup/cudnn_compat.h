// What cuDNN 8 dropped and the C++ code of Theano 1.0.5 calls: the choice of a convolution's algorithm by a preference.
//
// The compiler includes this before everything else (-include), so that nothing of cuDNN is declared yet. Hence macros
// and a template: code that does not call cuDNN compiles as it would without. For cuDNN 8 and 9; with cuDNN 7, which has
// these functions, it must not be included.
#pragma once
#ifdef __cplusplus
#include <stddef.h>

enum cudnnConvolutionFwdPreference_t {
  CUDNN_CONVOLUTION_FWD_NO_WORKSPACE,
  CUDNN_CONVOLUTION_FWD_PREFER_FASTEST,
  CUDNN_CONVOLUTION_FWD_SPECIFY_WORKSPACE_LIMIT
};

enum cudnnConvolutionBwdDataPreference_t {
  CUDNN_CONVOLUTION_BWD_DATA_NO_WORKSPACE,
  CUDNN_CONVOLUTION_BWD_DATA_PREFER_FASTEST,
  CUDNN_CONVOLUTION_BWD_DATA_SPECIFY_WORKSPACE_LIMIT
};

enum cudnnConvolutionBwdFilterPreference_t {
  CUDNN_CONVOLUTION_BWD_FILTER_NO_WORKSPACE,
  CUDNN_CONVOLUTION_BWD_FILTER_PREFER_FASTEST,
  CUDNN_CONVOLUTION_BWD_FILTER_SPECIFY_WORKSPACE_LIMIT
};

// The arguments that each of the three takes are those of its successor, but for the last ones.
#define cudnnGetConvolutionForwardAlgorithm(...)                                        \
  cudnn_compat::choose(cudnnGetConvolutionForwardAlgorithm_v7,                          \
                       cudnnGetConvolutionForwardAlgorithmMaxCount, CUDNN_STATUS_NOT_SUPPORTED, __VA_ARGS__)
#define cudnnGetConvolutionBackwardDataAlgorithm(...)                                   \
  cudnn_compat::choose(cudnnGetConvolutionBackwardDataAlgorithm_v7,                     \
                       cudnnGetConvolutionBackwardDataAlgorithmMaxCount, CUDNN_STATUS_NOT_SUPPORTED, __VA_ARGS__)
#define cudnnGetConvolutionBackwardFilterAlgorithm(...)                                 \
  cudnn_compat::choose(cudnnGetConvolutionBackwardFilterAlgorithm_v7,                   \
                       cudnnGetConvolutionBackwardFilterAlgorithmMaxCount, CUDNN_STATUS_NOT_SUPPORTED, __VA_ARGS__)

namespace cudnn_compat {

// Of the algorithms that `ranked` lists, fastest first, the first one that works and needs no more memory than the
// preference allows: none, any, or `limit` bytes.
template <class Status, class Handle, class A, class B, class C, class D, class Result, class Algorithm>
Status choose(Status (*ranked)(Handle, A, B, C, D, int, int *, Result *), Status (*max_count)(Handle, int *),
              Status not_supported, Handle handle, A a, B b, C c, D d, int preference, size_t limit,
              Algorithm *algorithm) {
  const int room = 64;
  Result results[room];
  const Status success = Status(0);
  int wanted = 0, count = 0;
  Status status = max_count(handle, &wanted);
  if (status == success)
    status = ranked(handle, a, b, c, d, wanted < room ? wanted : room, &count, results);
  if (status != success)
    return status;
  const bool any = preference == CUDNN_CONVOLUTION_FWD_PREFER_FASTEST;
  const size_t allowed = preference == CUDNN_CONVOLUTION_FWD_NO_WORKSPACE ? 0 : limit;
  for (int i = 0; i < count; ++i)
    if (results[i].status == success && (any || results[i].memory <= allowed)) {
      *algorithm = results[i].algo;
      return success;
    }
  return not_supported;
}

}  // namespace cudnn_compat
#endif
