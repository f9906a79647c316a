// Stands before NVRTC for libgpuarray 0.7.6, which has room for two digits of a GPU's compute capability: it asks for
// compute_12 where it means 12.0. Code for 12.0 runs on 12.1 too. All other functions are NVRTC's own (gpu_setup.py).
#include <dlfcn.h>
#include <string.h>

extern "C" int nvrtcCompileProgram(void *program, int count, const char *const *options) {
  typedef int (*Compile)(void *, int, const char *const *);
  const Compile compile = (Compile)dlsym(dlopen(NVRTC, RTLD_LAZY), "nvrtcCompileProgram");
  const int room = 16;
  const char *changed[room];
  char architecture[] = "compute_??0";
  if (count > room)
    return compile(program, count, options);
  for (int i = 0; i < count; ++i) {
    changed[i] = options[i];
    if (strlen(options[i]) == 10 && strncmp(options[i], "compute_1", 9) == 0) {
      memcpy(architecture, options[i], 10);
      changed[i] = architecture;
    }
  }
  return compile(program, count, changed);
}
