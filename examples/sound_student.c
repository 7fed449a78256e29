// An exported student on a WAV file (mono, 16 bits, at the file's rate) with onnxruntime's C API: the class and its probability.
//     cc sound_student.c -o sound_student -lonnxruntime && ./sound_student student-sound.onnx sound.wav
// Is it whole? proof.json of the export has its SHA-256: sha256sum student-sound.onnx
#include <onnxruntime_c_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OrtApi *ort;

static void check(OrtStatus *status) {
  if (status) fprintf(stderr, "error: %s\n", ort->GetErrorMessage(status)), exit(1);
}

static float *read_wav(const char *path, uint32_t *rate, size_t *count) {  // little-endian machines
  FILE *file = fopen(path, "rb");
  char name[5] = {0};
  uint32_t size;
  uint16_t format[8] = {0};  // coding, channels, rate (2), bytes a second (2), block, bits
  if (!file || fseek(file, 12, SEEK_SET)) fprintf(stderr, "error: %s: cannot be read\n", path), exit(1);
  while (fread(name, 4, 1, file) && fread(&size, 4, 1, file) && strcmp(name, "data"))
    if (!strcmp(name, "fmt ")) fread(format, 16, 1, file), fseek(file, size - 16, SEEK_CUR);
    else fseek(file, size + size % 2, SEEK_CUR);
  if (strcmp(name, "data") || format[0] != 1 || format[1] != 1 || format[7] != 16)
    fprintf(stderr, "error: %s: expected a WAV of one channel and 16 bits\n", path), exit(1);
  int16_t *values = malloc(size);
  *count = fread(values, 2, size / 2, file), memcpy(rate, &format[2], 4), fclose(file);
  float *samples = malloc(*count * sizeof *samples);
  for (size_t i = 0; i < *count; i++) samples[i] = values[i] / 32768.0f;
  return free(values), samples;
}

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "usage: sound_student student-sound.onnx sound.wav\n"), 2;
  OrtEnv *env; OrtSessionOptions *options; OrtSession *session; OrtModelMetadata *about; OrtAllocator *memory;
  OrtMemoryInfo *place; OrtValue *input, *output = NULL; OrtTensorTypeAndShapeInfo *shape;
  uint32_t rate; size_t count, classes, best = 0; float *values; char *known, *names;
  if (!(ort = OrtGetApiBase()->GetApi(ORT_API_VERSION))) return fprintf(stderr, "error: an older onnxruntime\n"), 1;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "sound", &env));
  check(ort->CreateSessionOptions(&options));
  check(ort->SetIntraOpNumThreads(options, 1));
  check(ort->CreateSession(env, argv[1], options, &session));
  check(ort->GetAllocatorWithDefaultOptions(&memory));
  check(ort->SessionGetModelMetadata(session, &about));
  check(ort->ModelMetadataLookupCustomMetadataMap(about, memory, "rate", &known));
  check(ort->ModelMetadataLookupCustomMetadataMap(about, memory, "classes", &names));  // ["a", "b"]
  float *samples = read_wav(argv[2], &rate, &count);
  if (!known || rate != (uint32_t)atoi(known)) return fprintf(stderr, "error: %u Hz, expected %s\n", rate, known), 1;
  int64_t size[2] = {1, (int64_t)count};
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &place));
  check(ort->CreateTensorWithDataAsOrtValue(place, samples, count * 4, size, 2, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
  check(ort->Run(session, NULL, (const char *[]){"samples"}, (const OrtValue *const[]){input}, 1, (const char *[]){"probabilities"}, 1, &output));
  check(ort->GetTensorTypeAndShape(output, &shape)), check(ort->GetTensorShapeElementCount(shape, &classes));
  check(ort->GetTensorMutableData(output, (void **)&values));
  for (size_t i = 1; i < classes; i++) best = values[i] > values[best] ? i : best;
  for (size_t i = 0; i <= best; i++) names = strchr(i ? strchr(names, '"') + 1 : names, '"') + 1;
  return printf("%s   %.*s %.1f %%\n", argv[2], (int)strcspn(names, "\""), names, 100 * values[best]), 0;
}
