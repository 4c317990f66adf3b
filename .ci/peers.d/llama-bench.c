// A small llama-bench for llama.cpp's prebuilt libraries, such as those in the npm package node-llama-cpp, which come without
// the program. It takes the flags that .ci/peers uses and prints the same two numbers.
//
//   lib=node_modules/@node-llama-cpp/linux-x64/bins/linux-x64   # headers: include and ggml/include of llama.cpp's source
//   cc -O2 -I llama.cpp/include -I llama.cpp/ggml/include .ci/peers.d/llama-bench.c -o llama-bench \
//     $lib/libllama.v*.so $lib/libggml.v*.so $lib/libggml-base.so -Wl,-rpath,$PWD/$lib
//   LLAMA_BACKENDS=$lib LLAMA_BENCH=$PWD/llama-bench .ci/peers
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ggml-backend.h"
#include "llama.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void quiet(enum ggml_log_level level, const char *text, void *data) {
    if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

// seconds measures reading n tokens, at once or one after the other.
static double seconds(struct llama_context *c, int vocabulary, int n, int at_once) {
    llama_memory_clear(llama_get_memory(c), 1);
    llama_token *ids = malloc(n * sizeof *ids);
    for (int i = 0; i < n; i++) ids[i] = (7919 * i + 13) % vocabulary;
    double began = now();
    for (int i = 0; i < n; i += at_once ? n : 1) {
        if (llama_decode(c, llama_batch_get_one(ids + i, at_once ? n : 1)) != 0) exit(1);
        llama_synchronize(c);
    }
    double took = now() - began;
    free(ids);
    return took;
}

int main(int argc, char **argv) {
    const char *file = NULL;
    int threads = 2, prompt = 512, decode = 24, runs = 3;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "-m")) file = argv[i + 1];
        if (!strcmp(argv[i], "-t")) threads = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "-p")) prompt = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "-n")) decode = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "-r")) runs = atoi(argv[i + 1]);
    }
    llama_log_set(quiet, NULL);
    const char *backends = getenv("LLAMA_BACKENDS");
    if (backends) ggml_backend_load_all_from_path(backends);
    llama_backend_init();
    struct llama_model *m = llama_model_load_from_file(file, llama_model_default_params());
    if (!m) return 1;
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = 1024, p.n_batch = p.n_ubatch = 512, p.n_threads = p.n_threads_batch = threads;
    struct llama_context *c = llama_init_from_model(m, p);
    if (!c) return 1;
    int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(m));
    for (int at_once = 1; at_once >= 0; at_once--) {
        int n = at_once ? prompt : decode;
        double rate = 0;
        if (n == 0) continue;
        seconds(c, vocabulary, at_once ? n : 4, at_once);
        for (int r = 0; r < runs; r++) rate += n / seconds(c, vocabulary, n, at_once) / runs;
        printf("{\"n_prompt\": %d, \"n_gen\": %d, \"avg_ts\": %.2f}\n", at_once ? n : 0, at_once ? 0 : n, rate);
    }
    fprintf(stderr, "%s\n", llama_print_system_info());
    return 0;
}
