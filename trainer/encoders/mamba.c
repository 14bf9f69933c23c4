/* Two parts of Mamba's mixer and their gradients, in float32 on a CPU: see mamba_cpu.py, which compiles and calls this file.

   A vector holds neighbouring channels. What belongs to its channels is kept in registers and in the first caches over all tokens. In
   particular, states of the scan never reach memory: the backward pass computes them again, from the first token.

   Letters: B shapes, T tokens, E channels, N states of a channel, K tokens under the convolution; W channels of a vector. All arrays are
   contiguous. Gradients of weights are per shape, so that their sum does not depend on the number of threads. Every function returns 0, or
   1 if there is not enough memory. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define W 16
#elif defined(__AVX__)
#define W 8
#else
#define W 4
#endif

typedef float vec __attribute__((vector_size(4 * W)));
typedef int32_t ivec __attribute__((vector_size(4 * W)));

static const float LOG2E = 1.4426950408889634f;

/* Channels e to e + W of a row of E channels; zeros after its end. */
static inline vec load(const float *row, int64_t e, int64_t E) {
    vec v = {0};
    if (E - e >= W) memcpy(&v, row + e, sizeof v);
    else memcpy(&v, row + e, (E - e) * sizeof(float));
    return v;
}

static inline void store(float *row, int64_t e, int64_t E, vec v) {
    if (E - e >= W) memcpy(row + e, &v, sizeof v);
    else memcpy(row + e, &v, (E - e) * sizeof(float));
}

static inline float sum(vec v) {
    float s = 0;
    for (int i = 0; i < W; i++) s += v[i];
    return s;
}

static inline vec choose(ivec where, vec yes, vec no) { return (vec)((where & (ivec)yes) | (~where & (ivec)no)); }

/* 2 ** x for x <= 0, within 2 units of the last place; 0 below 2 ** -125; not a number if x is none. */
static inline vec power(vec x) {
    const float nearest = 12582912.0f; /* 1.5 * 2 ** 23: adding it rounds to an integer, which the low bits hold */
    vec whole = x + nearest;
    vec scale = (vec)(((ivec)whole << 23) + (127 << 23));
    vec part = x - (whole - nearest); /* -0.5 to 0.5 */
    /* The series of exp(part * log 2). */
    vec p = part * 1.5252734e-5f + 1.5403530e-4f;
    p = p * part + 1.3333558e-3f;
    p = p * part + 9.6181291e-3f;
    p = p * part + 5.5504109e-2f;
    p = p * part + 2.4022651e-1f;
    p = p * part + 6.9314718e-1f;
    p = p * part + 1.0f;
    return (vec)((ivec)(p * scale) & ~(x <= -125.0f));
}

/* 1 / (1 + exp(-x)), without an exponential above 1. */
static inline vec sigmoid(vec x) {
    vec small = power(choose(x > 0, -x, x) * LOG2E);
    return choose(x > 0, (vec){0} + 1, small) / (1 + small);
}

/* One output of the convolution: bias + sum over k of weight[k] * (input k places after the first). Inputs before the first token are 0. */
static inline vec convolved(int64_t t, int64_t e, int64_t E, int64_t K, const float *x, const vec *weight, vec bias) {
    for (int64_t k = t < K - 1 ? K - 1 - t : 0; k < K; k++) bias += weight[k] * load(x + (t - K + 1 + k) * E, e, E);
    return bias;
}

/* y = silu(convolution along the tokens), where each token sees itself and the K - 1 before it. x, y [B, T, E], w [K, E], bias [E]. */
int convolve(int64_t B, int64_t T, int64_t E, int64_t K, const float *x, const float *w, const float *bias, float *y) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < B; i++)
        for (int64_t e = 0; e < E; e += W) {
            vec weight[K], own = load(bias, e, E);
            for (int64_t k = 0; k < K; k++) weight[k] = load(w + k * E, e, E);
            for (int64_t t = 0; t < T; t++) {
                vec z = convolved(t, e, E, K, x + i * T * E, weight, own);
                store(y + (i * T + t) * E, e, E, z * sigmoid(z));
            }
        }
    return 0;
}

/* Gradients of `convolve`: gx [B, T, E], gw [B, K, E], gbias [B, E]. */
int convolve_backward(int64_t B, int64_t T, int64_t E, int64_t K, const float *gy, const float *x, const float *w, const float *bias,
                      float *gx, float *gw, float *gbias) {
    int failed = 0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < B; i++) {
        vec *gz = aligned_alloc(sizeof(vec), T * sizeof(vec)); /* of the convolution's result */
        if (!gz) {
#pragma omp atomic write
            failed = 1;
            continue;
        }
        const float *in = x + i * T * E;
        for (int64_t e = 0; e < E; e += W) {
            vec weight[K], gweight[K], own = load(bias, e, E), gown = {0};
            for (int64_t k = 0; k < K; k++) {
                weight[k] = load(w + k * E, e, E);
                gweight[k] = (vec){0};
            }
            for (int64_t t = 0; t < T; t++) {
                vec z = convolved(t, e, E, K, in, weight, own), s = sigmoid(z);
                gz[t] = load(gy + (i * T + t) * E, e, E) * s * (1 + z * (1 - s));
                gown += gz[t];
                for (int64_t k = t < K - 1 ? K - 1 - t : 0; k < K; k++) gweight[k] += gz[t] * load(in + (t - K + 1 + k) * E, e, E);
            }
            for (int64_t t = 0; t < T; t++) {
                vec g = {0};
                for (int64_t k = t + K > T ? t + K - T : 0; k < K; k++) g += weight[k] * gz[t + K - 1 - k];
                store(gx + (i * T + t) * E, e, E, g);
            }
            for (int64_t k = 0; k < K; k++) store(gw + (i * K + k) * E, e, E, gweight[k]);
            store(gbias + i * E, e, E, gown);
        }
        free(gz);
    }
    return failed;
}

/* The recurrence h[t] = exp(dt[t] a) h[t-1] + dt[t] x[t] b[t], read as y[t] = c[t] h[t] + d x[t]. x, dt, y [B, T, E], a [N, E],
   b, c [B, T, N], d [E]. */
int scan(int64_t B, int64_t T, int64_t E, int64_t N, const float *x, const float *dt, const float *a, const float *b, const float *c,
          const float *d, float *y) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < B; i++)
        for (int64_t e = 0; e < E; e += W) {
            vec rate[N], h[N], own = load(d, e, E);
            for (int64_t n = 0; n < N; n++) {
                rate[n] = load(a + n * E, e, E) * LOG2E;
                h[n] = (vec){0};
            }
            for (int64_t t = i * T; t < (i + 1) * T; t++) {
                vec in = load(x + t * E, e, E), step = load(dt + t * E, e, E), put = step * in, out = own * in;
                for (int64_t n = 0; n < N; n++) {
                    h[n] = power(step * rate[n]) * h[n] + put * b[t * N + n];
                    out += h[n] * c[t * N + n];
                }
                store(y + t * E, e, E, out);
            }
        }
    return 0;
}

/* Gradients of `scan`: gx, gdt [B, T, E], ga [B, N, E], gb, gc [B, T, N], gd [B, E]. */
int scan_backward(int64_t B, int64_t T, int64_t E, int64_t N, const float *gy, const float *x, const float *dt, const float *a,
                  const float *b, const float *c, const float *d, float *gx, float *gdt, float *ga, float *gb, float *gc, float *gd) {
    int failed = 0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < B; i++) {
        vec *memory = aligned_alloc(sizeof(vec), 4 * T * N * sizeof(vec));
        if (!memory) {
#pragma omp atomic write
            failed = 1;
            continue;
        }
        vec *state = memory, *decay = state + T * N, *sumb = decay + T * N, *sumc = sumb + T * N;
        memset(sumb, 0, 2 * T * N * sizeof(vec));
        for (int64_t e = 0; e < E; e += W) {
            vec rate[N], grate[N], h[N], g[N], own = load(d, e, E), gown = {0};
            for (int64_t n = 0; n < N; n++) {
                rate[n] = load(a + n * E, e, E);
                grate[n] = h[n] = g[n] = (vec){0};
            }
            for (int64_t t = 0; t < T; t++) { /* forward again */
                int64_t row = (i * T + t) * E, reads = (i * T + t) * N;
                vec step = load(dt + row, e, E), put = step * load(x + row, e, E);
                for (int64_t n = 0; n < N; n++) {
                    decay[t * N + n] = power(step * (rate[n] * LOG2E));
                    state[t * N + n] = h[n] = decay[t * N + n] * h[n] + put * b[reads + n];
                }
            }
            for (int64_t t = T - 1; t >= 0; t--) {
                int64_t row = (i * T + t) * E, reads = (i * T + t) * N;
                vec in = load(x + row, e, E), step = load(dt + row, e, E), out = load(gy + row, e, E);
                vec put = step * in, gput = {0}, gstep = {0};
                for (int64_t n = 0; n < N; n++) {
                    g[n] += out * c[reads + n]; /* gradient of this token's state */
                    sumc[t * N + n] += state[t * N + n] * out;
                    sumb[t * N + n] += g[n] * put;
                    gput += g[n] * b[reads + n];
                    g[n] *= decay[t * N + n]; /* gradient of the state before */
                    if (t) {                  /* which is 0 before the first token */
                        vec through = g[n] * state[t * N - N + n];
                        grate[n] += through * step;
                        gstep += through * rate[n];
                    }
                }
                store(gx + row, e, E, gput * step + own * out);
                store(gdt + row, e, E, gput * in + gstep);
                gown += in * out;
            }
            for (int64_t n = 0; n < N; n++) store(ga + (i * N + n) * E, e, E, grate[n]);
            store(gd + i * E, e, E, gown);
        }
        for (int64_t k = 0; k < T * N; k++) {
            gb[i * T * N + k] = sum(sumb[k]);
            gc[i * T * N + k] = sum(sumc[k]);
        }
        free(memory);
    }
    return failed;
}
