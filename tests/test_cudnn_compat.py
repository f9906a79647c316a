"""utils/theano_setup/cudnn_compat.h: against a small cuDNN of the test's own, and the real headers where they are."""

import os
import subprocess

import pytest

from conftest import ROOT
from utils.theano_setup import gpu

# Each function by the words in its name, its types' names and its constants' names.
FUNCTIONS = [("Forward", "Fwd", "FWD"), ("BackwardData", "BwdData", "BWD_DATA"),
             ("BackwardFilter", "BwdFilter", "BWD_FILTER")]

# cuDNN 9 as far as the header calls it. The arguments of the three functions have the real ones' kinds of types.
CUDNN = """
#include <stddef.h>
typedef enum {
  CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_BAD_PARAM = 2000, CUDNN_STATUS_NOT_SUPPORTED = 3000
} cudnnStatus_t;
typedef struct Context *cudnnHandle_t;
typedef struct Tensor *cudnnTensorDescriptor_t;
typedef struct Filter *cudnnFilterDescriptor_t;
typedef struct Convolution *cudnnConvolutionDescriptor_t;
extern int fails;
"""
ONE_FUNCTION = """
typedef enum { {Kind}_ALGO_0, {Kind}_ALGO_1, {Kind}_ALGO_2, {Kind}_ALGO_3 } cudnnConvolution{Kind}Algo_t;
typedef struct {
  cudnnConvolution{Kind}Algo_t algo; cudnnStatus_t status; float time; size_t memory;
} cudnnConvolution{Kind}AlgoPerf_t;
static cudnnStatus_t cudnnGetConvolution{Name}AlgorithmMaxCount(cudnnHandle_t, int *count) {
  *count = 4;
  return CUDNN_STATUS_SUCCESS;
}
static cudnnStatus_t cudnnGetConvolution{Name}Algorithm_v7(
    cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnFilterDescriptor_t, const cudnnConvolutionDescriptor_t,
    const cudnnTensorDescriptor_t, const int wanted, int *returned, cudnnConvolution{Kind}AlgoPerf_t *results) {
  if (fails || wanted != 4)
    return CUDNN_STATUS_BAD_PARAM;
  const cudnnConvolution{Kind}AlgoPerf_t ranked[] = {
    {{Kind}_ALGO_1, CUDNN_STATUS_NOT_SUPPORTED, -1, 0}, {{Kind}_ALGO_3, CUDNN_STATUS_SUCCESS, 1, 1000},
    {{Kind}_ALGO_2, CUDNN_STATUS_SUCCESS, 2, 100}, {{Kind}_ALGO_0, CUDNN_STATUS_SUCCESS, 3, 10}};
  for (int i = 0; i < 4; ++i)
    results[i] = ranked[i];
  *returned = 4;
  return CUDNN_STATUS_SUCCESS;
}
"""
# As Theano's code calls it: the status and the chosen algorithm, -1 if none was.
CALL = """
void {Name}(cudnnConvolution{Kind}Preference_t preference, size_t limit) {
  cudnnConvolution{Kind}Algo_t algorithm = (cudnnConvolution{Kind}Algo_t)-1;
  cudnnStatus_t status = cudnnGetConvolution{Name}Algorithm(
      (cudnnHandle_t)0, {arguments}, preference, limit, &algorithm);
  printf("%d %d\\n", (int)status, (int)algorithm);
}
"""


def fill(template, name, kind, arguments=""):
    return template.replace("{Name}", name).replace("{Kind}", kind).replace("{arguments}", arguments)


def compile_with_header(source, output, *flags):
    """As Theano calls the compiler: the header is found by CPATH."""
    command = ["g++", "-x", "c++", "-", "-include", "cudnn_compat.h", *flags, "-o", str(output)]
    environment = {**os.environ, "CPATH": os.path.join(ROOT, "utils", "theano_setup")}
    return subprocess.run(command, input=source, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name, kind, prefix", FUNCTIONS)
def test_the_fastest_algorithm_within_the_workspace_is_chosen(tmp_path, name, kind, prefix):
    arguments = ("(cudnnTensorDescriptor_t)0, (cudnnFilterDescriptor_t)0, (cudnnConvolutionDescriptor_t)0, "
                 "(cudnnTensorDescriptor_t)0")
    calls = [("PREFER_FASTEST", 0), ("SPECIFY_WORKSPACE_LIMIT", 1000), ("SPECIFY_WORKSPACE_LIMIT", 999),
             ("SPECIFY_WORKSPACE_LIMIT", 9), ("NO_WORKSPACE", 5000)]
    body = "".join(f"  {name}(CUDNN_CONVOLUTION_{prefix}_{preference}, {limit});\n" for preference, limit in calls)
    source = ("#include <stdio.h>\n" + CUDNN + fill(ONE_FUNCTION, name, kind) +
              fill(CALL, name, kind, arguments) +
              f"int fails = 0;\nint main() {{\n{body}  fails = 1;\n"
              f"  {name}(CUDNN_CONVOLUTION_{prefix}_PREFER_FASTEST, 0);\n}}\n")
    compiled = compile_with_header(source, tmp_path / "program", "-Wall", "-Werror")
    assert compiled.returncode == 0, compiled.stderr
    lines = subprocess.run([tmp_path / "program"], capture_output=True, text=True).stdout.splitlines()
    # Not supported where nothing fits, and cuDNN's own error where it has one.
    assert lines == ["0 3", "0 3", "0 2", "3000 -1", "3000 -1", "2000 -1"]


def test_code_without_cudnn_compiles_as_before(tmp_path):
    compiled = compile_with_header("int main() {}", tmp_path / "program", "-Wall", "-Wextra", "-Werror")
    assert compiled.returncode == 0, compiled.stderr


def test_the_real_cudnn_has_what_the_header_calls(tmp_path):
    include, _ = gpu.find_cudnn()
    cuda = gpu.find_header("crt/host_defines.h")
    if not include or not cuda or gpu.cudnn_version(include)[0] < 8:
        pytest.skip("the headers of cuDNN 8 or 9 and of CUDA are not here (requirements-gpu.txt has them)")
    descriptors = {"Forward": "x, w, convolution, x", "BackwardData": "w, x, convolution, x",
                   "BackwardFilter": "x, x, convolution, w"}
    source = ("#include <stdio.h>\n#include <cudnn.h>\ncudnnTensorDescriptor_t x;\ncudnnFilterDescriptor_t w;\n"
              "cudnnConvolutionDescriptor_t convolution;\n")
    source += "".join(fill(CALL, name, kind, descriptors[name]) for name, kind, _ in FUNCTIONS)
    compiled = compile_with_header(source, tmp_path / "object.o", "-c", f"-I{include}", f"-I{cuda}")
    assert compiled.returncode == 0, compiled.stderr
    symbols = subprocess.run(["nm", "--undefined-only", tmp_path / "object.o"], capture_output=True, text=True).stdout
    for name, *_ in FUNCTIONS:
        assert f"cudnnGetConvolution{name}Algorithm_v7\n" in symbols


def test_convolutions_ask_for_free_memory_only_before_they_choose_an_algorithm():
    from theano.gpuarray import dnn

    from nets.kernels.gpu import convolution
    for op in dnn.GpuDnnConv(), dnn.GpuDnnConvGradI(), dnn.GpuDnnConvGradW():
        for texts in op.func_codes, op.code_sections.values():
            text = "".join(texts)
            assert text.count(convolution.ASKS_ONCE) == 1 and convolution.ASKS not in text
