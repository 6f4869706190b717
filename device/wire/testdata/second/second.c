/* The frames of a device whose firmware is written in C with libcbor, and that firmware's view of
 * the gateway's frames. README.md says how to run it.
 *
 *   second make DIR     writes DIR/NAME.hex, one frame each
 *   second read FILE    reads every dn/ frame of a golden.txt and describes it
 */
#include <cbor.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char message[16] = {0x01, 0x9a, 0x3b, 0x5c, 0x7d, 0x1e, 0x70, 0x00,
                                          0x80, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77};

static cbor_item_t *text(const char *s) { return cbor_build_string(s); }
static cbor_item_t *u8(unsigned n) { return cbor_build_uint8(n); }
static cbor_item_t *u64(unsigned long long n) { return cbor_build_uint64(n); }
static cbor_item_t *half(float f) { return cbor_build_float2(f); }

/* A text in pieces, as a streaming encoder writes it. */
static cbor_item_t *pieces(const char *a, const char *b) {
  cbor_item_t *s = cbor_new_indefinite_string();
  cbor_string_add_chunk(s, cbor_move(text(a)));
  cbor_string_add_chunk(s, cbor_move(text(b)));
  return s;
}

/* The message's ID, whole or in two pieces. */
static cbor_item_t *id(bool split) {
  if (!split) return cbor_build_bytestring(message, 16);
  cbor_item_t *s = cbor_new_indefinite_bytestring();
  cbor_bytestring_add_chunk(s, cbor_move(cbor_build_bytestring(message, 5)));
  cbor_bytestring_add_chunk(s, cbor_move(cbor_build_bytestring(message + 5, 11)));
  return s;
}

/* n bytes that count up from first, in pieces of at most size, as a buffer is drained; whole if size is 0. */
static cbor_item_t *bytes(unsigned first, size_t n, size_t size) {
  unsigned char b[1024];
  for (size_t i = 0; i < n; i++) b[i] = (unsigned char)(first + i);
  if (!size) return cbor_build_bytestring(b, n);
  cbor_item_t *s = cbor_new_indefinite_bytestring();
  for (size_t at = 0; at < n; at += size)
    cbor_bytestring_add_chunk(s, cbor_move(cbor_build_bytestring(b + at, n - at < size ? n - at : size)));
  return s;
}

static void put(cbor_item_t *map, cbor_item_t *key, cbor_item_t *value) {
  if (!cbor_map_add(map, (struct cbor_pair){.key = cbor_move(key), .value = cbor_move(value)})) abort();
}

static void push(cbor_item_t *list, cbor_item_t *item) {
  if (!cbor_array_push(list, cbor_move(item))) abort();
}

static cbor_item_t *list(cbor_item_t *l, const char **names) {
  for (; *names; names++) push(l, text(*names));
  return l;
}

static const char *dir;

static void save(const char *name, cbor_item_t *frame) {
  unsigned char *b;
  size_t room, n = cbor_serialize_alloc(frame, &b, &room);
  char path[512];
  snprintf(path, sizeof path, "%s/%s.hex", dir, name);
  FILE *f = fopen(path, "w");
  if (!n || !f) { perror(path); exit(1); }
  for (size_t i = 0; i < n; i++) fprintf(f, "%02x", b[i]);
  fprintf(f, "\n");
  fclose(f);
  free(b);
  cbor_decref(&frame);
}

static void make(void) {
  /* A birth, streamed: every container open-ended, every number as wide as the variable was. */
  cbor_item_t *birth = cbor_new_indefinite_map(), *model = cbor_new_indefinite_map(), *caps = cbor_new_indefinite_map();
  put(model, u8(0), pieces("Kälte", "werk"));
  put(model, u8(1), text("KW-200"));
  cbor_item_t *screen = cbor_new_definite_array(3);
  push(screen, cbor_build_uint16(800)); push(screen, cbor_build_uint32(480)); push(screen, u64(178));
  cbor_item_t *forms = cbor_new_indefinite_array();
  push(forms, u8(0)); push(forms, cbor_build_uint16(2)); push(forms, u8(77)); /* 77: of a later version */
  put(caps, u8(0), screen);
  put(caps, u8(1), cbor_build_uint32(2));
  put(caps, u8(3), forms);
  put(caps, u8(40), text("of a later version"));
  put(birth, u64(0), u64(0));
  put(birth, u64(1), model);
  put(birth, u64(2), u64(5));
  put(birth, u64(3), caps);
  put(birth, u64(4), list(cbor_new_indefinite_array(), (const char *[]){"door.open", "temperature", "power.state", 0}));
  put(birth, u64(6), u64(1790000000123ull));
  cbor_item_t *held = cbor_new_indefinite_array();
  push(held, id(true));
  put(birth, u64(8), held);
  save("birth", birth);

  /* The same in keys that are out of order, with definite lengths. */
  birth = cbor_new_definite_map(5);
  put(birth, u8(4), list(cbor_new_definite_array(1), (const char *[]){"ux.driving", 0}));
  put(birth, u8(3), cbor_new_definite_map(0));
  put(birth, u8(2), u8(4));
  model = cbor_new_definite_map(2);
  put(model, u8(1), text("")); put(model, u8(0), text("Meridian"));
  put(birth, u8(1), model);
  put(birth, u8(0), u8(0));
  save("birth-backwards", birth);

  /* Contexts: half floats, places and names together. */
  cbor_item_t *ctx = cbor_new_indefinite_map(), *values = cbor_new_indefinite_map();
  put(ctx, u8(0), u64(1));
  put(values, u8(0), cbor_build_bool(true));
  put(values, cbor_build_uint16(1), half(4.5f));
  put(values, text("power.state"), pieces("stand", "by"));
  put(values, pieces("battery", ".level"), cbor_build_float4(99.25f));
  put(ctx, u8(3), values);
  save("ctx-half", ctx);

  ctx = cbor_new_definite_map(4);
  values = cbor_new_definite_map(5);
  put(values, u64(0), cbor_new_null());
  put(values, u64(1), cbor_build_negint64(17)); /* -18 */
  put(values, text("a"), cbor_build_float8(21));
  put(values, text("b"), u64(9223372036854775807ull));
  put(values, text("c"), cbor_build_negint8(0)); /* -1 */
  put(ctx, u8(3), values);
  put(ctx, u8(0), cbor_build_uint32(2));
  put(ctx, u8(2), u64(0));
  put(ctx, u8(4), cbor_build_bool(true));
  save("ctx-wide", ctx);

  /* NaN from a broken probe: not a value. */
  ctx = cbor_new_definite_map(2);
  values = cbor_new_definite_map(1);
  put(values, u8(1), half(0.0f / 0.0f));
  put(ctx, u8(0), u8(3));
  put(ctx, u8(3), values);
  save("ctx-nan", ctx);

  cbor_item_t *evt = cbor_new_indefinite_map();
  put(evt, u8(0), u64(4));
  put(evt, u8(1), id(true));
  put(evt, u8(2), u64(3));
  put(evt, u8(3), cbor_build_uint16(1));
  put(evt, u8(4), u64(2));
  put(evt, u8(6), u64(1500));
  put(evt, u64(4294967296ull), cbor_new_undef()); /* undefined is no value, not even there */
  save("evt-undefined", evt);

  evt = cbor_new_definite_map(6);
  put(evt, u8(6), u64(1500));
  put(evt, u8(4), u64(2));
  put(evt, u8(3), cbor_build_uint16(1));
  put(evt, u8(2), u64(3));
  put(evt, u8(1), id(false));
  put(evt, u8(0), u64(4));
  save("evt", evt);

  cbor_item_t *twin = cbor_new_indefinite_map(), *brands = cbor_new_indefinite_array(), *choice = cbor_new_indefinite_map();
  put(choice, u8(0), pieces("fresh", "-co"));
  put(choice, u8(2), text("marketing"));
  put(choice, u8(3), text("withdrawn"));
  push(brands, choice);
  cbor_item_t *quiets = cbor_new_definite_array(1), *quiet = cbor_new_definite_map(3);
  put(quiet, u8(0), u64(62)); put(quiet, u8(1), u64(1320)); put(quiet, u8(2), cbor_build_uint16(420));
  push(quiets, quiet);
  put(twin, u8(0), u64(9));
  put(twin, u8(1), u64(12));
  put(twin, u8(3), brands);
  put(twin, u8(4), quiets);
  put(twin, u8(5), cbor_new_indefinite_array());
  save("twin", twin);

  cbor_item_t *bye = cbor_new_indefinite_map();
  put(bye, u8(0), u64(11));
  put(bye, u8(1), pieces("sl", "eep"));
  put(bye, u8(2), u64(1790003600000ull));
  save("bye", bye);

  /* Asking to be let in: streamed, the request straight from the buffer that it was made in. */
  cbor_item_t *apply = cbor_new_indefinite_map();
  put(apply, u8(0), u64(1));
  put(apply, u8(1), bytes(1, 32, 20));
  put(apply, u8(2), bytes(0x30, 188, 64));
  model = cbor_new_indefinite_map();
  put(model, u8(0), pieces("Kälte", "werk"));
  put(model, u8(1), text("KW-200"));
  put(model, u8(9), text("of a later version"));
  put(apply, u8(3), model);
  put(apply, u8(4), u64(5));
  put(apply, u8(5), cbor_build_uint32(1));
  cbor_item_t *evidence = cbor_new_definite_map(1);
  put(evidence, u8(0), bytes(7, 3, 0));
  put(apply, u8(20), evidence);
  save("apply", apply);

  /* The same without a key, backwards. */
  apply = cbor_new_definite_map(5);
  put(apply, u8(5), u8(2));
  put(apply, u8(4), cbor_build_uint16(2));
  model = cbor_new_definite_map(3);
  put(model, u8(3), text("5f2c9e")); put(model, u8(1), text("S1")); put(model, u8(0), text("Murmur"));
  put(apply, u8(3), model);
  put(apply, u8(1), bytes(1, 32, 0));
  put(apply, u8(0), cbor_build_uint32(1));
  save("apply-backwards", apply);

  cbor_item_t *reveal = cbor_new_definite_map(3);
  put(reveal, u8(2), bytes(101, 32, 32));
  put(reveal, u8(1), bytes(1, 16, 1));
  put(reveal, u8(0), cbor_build_uint16(2));
  save("reveal", reveal);

  /* A slip: the nonce as hexadecimal text. */
  reveal = cbor_new_definite_map(2);
  put(reveal, u8(0), u8(2));
  put(reveal, u8(1), text("0102030405060708090a0b0c0d0e0f10"));
  save("reveal-text", reveal);

  cbor_item_t *key = cbor_new_indefinite_map();
  put(key, u64(0), u64(12));
  put(key, u64(1), bytes(0x30, 189, 100));
  save("key", key);

  cbor_item_t *join = cbor_new_indefinite_map();
  put(join, u8(0), u64(5));
  put(join, u8(1), u64(3));
  put(join, u8(2), pieces("e-", "0123456789abcdef"));
  put(join, u8(3), text("012 345"));
  put(join, u8(5), pieces("Kü", "che"));
  put(join, u8(6), u64(2));
  put(join, u8(7), u64(1790604800000ull));
  put(join, u8(8), cbor_build_bool(false));
  save("join", join);

  /* A question that was drawn: two controls and a later version's word about them. */
  cbor_item_t *ans = cbor_new_indefinite_map(), *drawn = cbor_new_indefinite_array();
  for (unsigned c = 1; c <= 2; c++) {
    cbor_item_t *control = cbor_new_indefinite_map();
    put(control, u8(0), cbor_build_uint32(c));
    put(control, u8(1), u64(1));
    put(control, u8(2), cbor_build_uint32(14400));
    put(control, u8(3), cbor_build_uint16(400));
    put(control, u8(8), text("of a later version"));
    push(drawn, control);
  }
  put(ans, u64(0), u64(13));
  put(ans, u64(1), id(true));
  put(ans, u64(2), u64(1));
  put(ans, u64(5), drawn);
  put(ans, u64(6), bytes(0x40, 32, 5));
  put(ans, u64(7), u64(1));
  save("ans", ans);

  /* Put off, backwards. */
  ans = cbor_new_definite_map(7);
  put(ans, u8(9), u64(40));
  put(ans, u8(8), cbor_build_uint32(2500));
  put(ans, u8(4), cbor_build_uint32(2));
  put(ans, u8(3), cbor_build_uint16(4));
  put(ans, u8(2), cbor_build_uint32(4));
  put(ans, u8(1), id(false));
  put(ans, u8(0), u64(14));
  save("ans-backwards", ans);

  /* A slip: yes as a boolean. */
  ans = cbor_new_definite_map(3);
  put(ans, u8(0), u8(15));
  put(ans, u8(1), id(false));
  put(ans, u8(2), cbor_build_bool(true));
  save("ans-bool", ans);

  cbor_item_t *why = cbor_new_indefinite_map();
  put(why, u8(3), u64(2));
  put(why, u8(2), pieces("de", "-AT"));
  put(why, u8(1), id(true));
  put(why, u8(0), u64(16));
  save("why", why);

  cbor_item_t *sig = cbor_new_indefinite_map();
  put(sig, u8(0), u64(17));
  put(sig, u8(1), u64(1));
  put(sig, u8(2), pieces("CPXxRfAPXxRfAAfKABENB-", "CgAAAAAAAAAAYgAAAAAAAA"));
  save("sig", sig);

  /* The new parts of a proposal. */
  twin = cbor_new_indefinite_map();
  cbor_item_t *caps2 = cbor_new_indefinite_array(), *cap = cbor_new_indefinite_map();
  put(cap, u8(10), u64(1));
  put(cap, u8(3), cbor_build_uint16(24));
  put(cap, u8(2), cbor_build_uint32(2));
  put(cap, u8(1), cbor_build_bool(true));
  push(caps2, cap);
  put(twin, u8(0), u64(18));
  put(twin, u8(1), u64(13));
  put(twin, u8(6), caps2);
  put(twin, u8(7), list(cbor_new_indefinite_array(), (const char *[]){"film", "sleep", 0}));
  put(twin, u8(8), cbor_new_indefinite_array());
  put(twin, u8(9), cbor_build_bool(false));
  cbor_item_t *forget = cbor_new_definite_array(1);
  push(forget, u64(3));
  put(twin, u8(10), forget);
  save("twin-more", twin);

  /* What a gateway with this library would answer. */
  cbor_item_t *admitted = cbor_new_indefinite_map(), *cas = cbor_new_indefinite_array();
  push(cas, bytes(2, 452, 200)); push(cas, bytes(3, 452, 0));
  put(admitted, u8(6), cbor_build_uint64(1790000000123ull));
  put(admitted, u8(5), pieces("porch", "light"));
  put(admitted, u8(4), cas);
  put(admitted, u8(2), bytes(0x30, 422, 128));
  put(admitted, u8(1), pieces("k3v7q2mz", "x5nat4bd"));
  put(admitted, u8(0), cbor_build_uint64(2));
  save("admitted", admitted);
}

/* Every dn/ frame must be one map with integer keys, and must serialise to the same bytes. */
static int read_golden(const char *path) {
  FILE *f = fopen(path, "r");
  char name[512], notation[16384], hex[16384 + 2];
  static unsigned char b[8192], back[8192];
  int frames = 0, bad = 0;
  if (!f) { perror(path); return 1; }
  while (fgets(name, sizeof name, f)) {
    if (name[0] == '#' || name[0] == '\n') continue;
    if (!fgets(notation, sizeof notation, f) || !fgets(hex, sizeof hex, f)) { fprintf(stderr, "cut short\n"); return 1; }
    if (strncmp(name, "dn/", 3)) continue;
    size_t n = strcspn(hex, "\n") / 2;
    for (size_t i = 0; i < n; i++) { unsigned c; sscanf(hex + 2 * i, "%2x", &c); b[i] = c; }
    struct cbor_load_result got;
    cbor_item_t *item = cbor_load(b, n, &got);
    bool ok = item && got.error.code == CBOR_ERR_NONE && got.read == n && cbor_isa_map(item) && cbor_map_is_definite(item) &&
              cbor_serialize(item, back, sizeof back) == n && !memcmp(b, back, n);
    for (size_t i = 0; ok && i < cbor_map_size(item); i++) ok = cbor_isa_uint(cbor_map_handle(item)[i].key);
    printf("%s%s%s", name, notation, ok ? "" : "NOT THE SAME\n");
    if (item) { cbor_describe(item, stdout); cbor_decref(&item); }
    frames++;
    bad += !ok;
  }
  fclose(f);
  fprintf(stderr, "%d frames read, %d bad\n", frames, bad);
  return bad || !frames;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "make")) { dir = argv[2]; make(); return 0; }
  if (argc == 3 && !strcmp(argv[1], "read")) return read_golden(argv[2]);
  fprintf(stderr, "usage: second make DIR | read FILE\n");
  return 2;
}
