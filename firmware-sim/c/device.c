// device.c is a device of the contract pl/1 (device/wire/CONTRACT.md) in one file of C11: it is let
// in, keeps its keys, shows one message at a time, and says what became of it. It knows nothing of the
// gateway but that page. MQTT is libmosquitto, CBOR libcbor, keys and TLS OpenSSL.
//
// In: commands on standard input, frames, a folder for what survives a power cut. Out: one line on
// standard output for each change of what a person would see. Never: an allocation of its own, but for
// the keys and certificates that OpenSSL hands out; --sizes prints what it keeps instead. (libmosquitto
// allocates every frame twice while it is under way, and TLS is the largest of all.)
//
//     cc -std=c11 -Wall -Wextra -Werror -O2 -o device device.c -lmosquitto -lcbor -lssl -lcrypto -lm

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cbor.h>
#include <mosquitto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

// ---- what it holds, all of it static ------------------------------------------------------------

enum {
	FRAME_IN = 8192,   // bytes of a frame that comes: the most that the contract allows
	FRAME_OUT = 1536,  // of a frame that goes: an application with its request is the longest
	MESSAGE = 1280,    // of the present on the screen; a longer one is declined
	LINES = 256,       // of the ledger
	OWING = 16,        // of the outbox
	BUTTONS = 4,
	ATTRIBUTES = 8,
	ID = 33, NAME = 65, TEXT = 65, // with the 0 at the end
	HASH = 32, NONCE = 16,
};

struct slice { const uint8_t *p; size_t n; };

// Events and reasons of up/evt.
enum { QUEUED = 1, PRESENTED, RESPONDED, DISMISSED, TIMED_OUT, DECLINED, EXPIRED, CANCELLED, FAILED };
enum { GUARD_FAILED = 1, BUSY, UNSUPPORTED_FORM, DRIVING, USER_DND, TOO_LARGE, INTERNAL, UNKNOWN_MESSAGE, STALE };

// event is what became of a message: a line of the ledger, and what an up/evt says.
struct event {
	uint8_t id[16];
	uint8_t kind, reason; // kind 0: nothing is written here
	uint8_t wish;         // one more than on the wire; 0: none
	uint8_t pressed;      // button counts
	uint32_t button;
};

// owed is what the gateway has not acknowledged: an event, or a choice.
struct owed {
	uint64_t at;   // when it happened, ms on the gateway's clock; 0: not known
	uint64_t base; // of a choice: the version that the person saw; 0: it is an event
	union {
		struct event event;
		struct { char brand[33], purpose[33], choice[10]; } choice;
	};
	bool stale;   // a choice that waits for a newer document
	bool sending; // it is on its way on this connection
};

// book is what is written down about messages. It belongs to one ID.
static struct book {
	uint32_t size; // of this struct: a book of another build is not read
	char id[ID];
	uint64_t fence, twin, clock; // clock: the gateway's, ms, as it was at most a day ago
	uint32_t owing;
	struct event ledger[LINES]; // the oldest first
	struct owed outbox[OWING];
} book;

// present is a message as it came; what it points at lies in screen.frame or in the frame.
struct present {
	uint8_t id[16];
	uint64_t op, valid, live, form, display, lease, epoch, fence;
	struct slice text, title, sender, guards;
	struct { uint64_t id; struct slice label; } button[BUTTONS];
	size_t buttons;
	uint32_t has; // bit k: key k is there
};

static struct {
	enum { CLEAR, WAITING, SHOWN } state;
	struct present p;
	int64_t came, renewed, began; // on the steady clock
	uint8_t frame[MESSAGE];
} screen;

static uint8_t in[FRAME_IN], out[FRAME_OUT];

// me is who the device is, once it was let in.
static struct {
	char id[ID], name[NAME], token[NAME];
	bool given; // by hand, on the command line
	bool known;
} me;

static struct {
	char *gateway, *state, *class, *label, *code, *id, *token, *ca, *name;
	char host[NAME];
	int port;
	bool plain, five, keyless;
	int64_t forget; // ms
} opt = {.state = "device-state", .class = "fridge", .forget = 600000};

// conn is one connection.
static struct {
	struct mosquitto *m;
	SSL_CTX *tls;
	char id[ID];
	int64_t began, born, told; // steady clock, 0: not yet. Dialled; birth; the whole context
	int64_t asked, revealed;   // for a new key; the nonce
	uint64_t seq, sent;        // sent: of the line of the outbox that is on its way
	int mid, bye;              // of that line, and of up/bye; -1: none
	int code;                  // what dn/err said of that line
	int refused;               // what CONNACK said
	bool applicant;            // without an identity
	bool fresh;                // with the credential that was not used before
	bool ended;                // with a certificate that has ended
	bool unverified;           // TLS does not trust the gateway
	bool up, over;             // CONNACK said 0; it has ended, or is to
	bool beaconed, twinned;    // the first beacon, the first document has come
	bool byed;                 // up/bye is acknowledged
	bool challenged, answered; // as an applicant
} conn;

static enum { STAYING, OFF, RESET, WIPED } leaving;
static int64_t leave_by;

static int folder;              // of what survives
static int64_t next_dial;       // 0: at once
static unsigned failures;       // connections that came to nothing, one after the other
static unsigned refusals;       // with 0x87, one after the other
static int64_t first_refusal;   // of these
static int64_t applying_since;  // 0: not
static bool waiting_for_person; // to say apply
static bool hurried;            // a person has said so
static bool fresh_failed;       // the new credential did not get through: the old one is next
static EVP_PKEY *young;         // the key of a request that is not answered yet

// ---- clocks -------------------------------------------------------------------------------------

// steady is ms on a clock that nobody can set and that goes on while the machine sleeps.
static int64_t steady(void) {
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t ahead; // of the gateway's clock to the steady one
static bool timed;    // a beacon, or the answer that let us in, has said it since the power came

// gateway_time is ms since 1970 by the gateway's clock; 0: not known.
static uint64_t gateway_time(void) {
	int64_t t = steady() + ahead;
	return timed && t > 0 ? (uint64_t)t : 0;
}

static int64_t wake; // when the loop has something to do without being told

// due reports whether t has come; if not, the loop will look again then.
static bool due(int64_t t) {
	if (steady() >= t) return true;
	if (t < wake) wake = t;
	return false;
}

// ---- a person sees, an engineer reads -------------------------------------------------------------

static void say(const char *format, ...) {
	va_list v;
	va_start(v, format);
	vprintf(format, v);
	va_end(v);
	putchar('\n');
	fflush(stdout);
}

static void note(const char *format, ...) {
	va_list v;
	va_start(v, format);
	vfprintf(stderr, format, v);
	va_end(v);
	fputc('\n', stderr);
}

static void put_plain(struct slice s) { // a text is a text
	for (size_t i = 0; i < s.n; i++) putchar(s.p[i] < 0x20 || s.p[i] == 0x7f ? ' ' : s.p[i]);
}

static void hex(char *to, const uint8_t *b, size_t n) {
	for (size_t i = 0; i < n; i++) sprintf(to + 2 * i, "%02x", b[i]);
}

// ---- what survives a power cut -----------------------------------------------------------------

// save replaces a file by the parts, one after the other: after a power cut it has the old bytes or the
// new ones.
static bool save(const char *name, const struct slice *parts, size_t n) {
	int f = openat(folder, "new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = f >= 0;
	for (size_t i = 0; ok && i < n; i++) {
		for (size_t done = 0; ok && done < parts[i].n;) {
			ssize_t w = write(f, parts[i].p + done, parts[i].n - done);
			if (w < 0 && errno == EINTR) continue;
			if ((ok = w > 0)) done += (size_t)w;
		}
	}
	ok = ok && fsync(f) == 0;
	if (f >= 0) ok = close(f) == 0 && ok;
	ok = ok && renameat(folder, "new", folder, name) == 0 && fsync(folder) == 0;
	if (!ok) note("cannot write %s: %s", name, strerror(errno));
	return ok;
}

// load returns how many bytes the file has, at most size; 0 if it is not there.
static size_t load(const char *name, void *into, size_t size) {
	int f = openat(folder, name, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	while (f >= 0 && n < size) {
		ssize_t r = read(f, (uint8_t *)into + n, size - n);
		if (r < 0 && errno == EINTR) continue;
		if (r <= 0) break;
		n += (size_t)r;
	}
	if (f >= 0) close(f);
	return n;
}

// erase overwrites a file before it removes it.
static void erase(const char *name) {
	static const uint8_t zero[256];
	struct stat s;
	int f = openat(folder, name, O_WRONLY | O_CLOEXEC);
	if (f < 0) return;
	if (fstat(f, &s) == 0) {
		for (off_t done = 0; done < s.st_size; done += (off_t)sizeof zero)
			if (write(f, zero, sizeof zero) < 0) break;
	}
	fsync(f);
	close(f);
	unlinkat(folder, name, 0);
	fsync(folder);
}

static bool save_book(void) {
	struct slice s = {(const uint8_t *)&book, sizeof book};
	return save("book", &s, 1);
}

// open_book takes up what is written down for me, or begins without.
static void open_book(void) {
	size_t n = load("book", &book, sizeof book);
	if (n != sizeof book || book.size != sizeof book || strcmp(book.id, me.id) != 0 || book.owing > OWING) {
		memset(&book, 0, sizeof book);
		book.size = sizeof book;
		strcpy(book.id, me.id);
		erase("document");
	}
}

// ---- CBOR that comes ---------------------------------------------------------------------------

enum kind { BAD, UINT, NINT, BYTES, STRING, ARRAY, MAP, BOOL, NIL, FLOAT };

struct item {
	enum kind kind;
	uint64_t n; // number, length, count, truth; of NINT: -1 - n
	double f;
	const uint8_t *p;
};

// reader reads one frame from its beginning. What is not of the contract sets bad, and from then on
// nothing is read.
struct reader { const uint8_t *p, *end; bool bad; };

static void on_u8(void *c, uint8_t v) { *(struct item *)c = (struct item){.kind = UINT, .n = v}; }
static void on_u16(void *c, uint16_t v) { *(struct item *)c = (struct item){.kind = UINT, .n = v}; }
static void on_u32(void *c, uint32_t v) { *(struct item *)c = (struct item){.kind = UINT, .n = v}; }
static void on_u64(void *c, uint64_t v) { *(struct item *)c = (struct item){.kind = UINT, .n = v}; }
static void on_n8(void *c, uint8_t v) { *(struct item *)c = (struct item){.kind = NINT, .n = v}; }
static void on_n16(void *c, uint16_t v) { *(struct item *)c = (struct item){.kind = NINT, .n = v}; }
static void on_n32(void *c, uint32_t v) { *(struct item *)c = (struct item){.kind = NINT, .n = v}; }
static void on_n64(void *c, uint64_t v) { *(struct item *)c = (struct item){.kind = NINT, .n = v}; }
static void on_bytes(void *c, cbor_data p, size_t n) { *(struct item *)c = (struct item){.kind = BYTES, .n = n, .p = p}; }
static void on_string(void *c, cbor_data p, size_t n) { *(struct item *)c = (struct item){.kind = STRING, .n = n, .p = p}; }
static void on_array(void *c, size_t n) { *(struct item *)c = (struct item){.kind = ARRAY, .n = n}; }
static void on_map(void *c, size_t n) { *(struct item *)c = (struct item){.kind = MAP, .n = n}; }
static void on_bool(void *c, bool v) { *(struct item *)c = (struct item){.kind = BOOL, .n = v}; }
static void on_null(void *c) { *(struct item *)c = (struct item){.kind = NIL}; }
static void on_f32(void *c, float v) { *(struct item *)c = (struct item){.kind = FLOAT, .f = v}; }
static void on_f64(void *c, double v) { *(struct item *)c = (struct item){.kind = FLOAT, .f = v}; }
static void on_none(void *c) { (void)c; } // open-ended, undefined: the gateway sends no such thing
static void on_tag(void *c, uint64_t v) { (void)c, (void)v; }

static const struct cbor_callbacks callbacks = {
	.uint8 = on_u8, .uint16 = on_u16, .uint32 = on_u32, .uint64 = on_u64,
	.negint8 = on_n8, .negint16 = on_n16, .negint32 = on_n32, .negint64 = on_n64,
	.byte_string = on_bytes, .byte_string_start = on_none, .string = on_string, .string_start = on_none,
	.array_start = on_array, .indef_array_start = on_none, .map_start = on_map, .indef_map_start = on_none,
	.tag = on_tag, .float2 = on_f32, .float4 = on_f32, .float8 = on_f64,
	.undefined = on_none, .null = on_null, .boolean = on_bool, .indef_break = on_none,
};

// next reads the head of an item; bytes and strings whole.
static struct item next(struct reader *r) {
	struct item i = {.kind = BAD};
	if (r->bad || r->p == r->end) return r->bad = true, i;
	struct cbor_decoder_result d = cbor_stream_decode(r->p, (size_t)(r->end - r->p), &callbacks, &i);
	if (d.status != CBOR_DECODER_FINISHED || i.kind == BAD || (i.kind == FLOAT && !isfinite(i.f)) ||
	    ((i.kind == ARRAY || i.kind == MAP) && i.n > 64)) {
		r->bad = true;
		return (struct item){.kind = BAD};
	}
	r->p += d.read;
	return i;
}

static struct item expect(struct reader *r, enum kind k) {
	struct item i = next(r);
	if (i.kind == k) return i;
	r->bad = true;
	return (struct item){.kind = BAD};
}

static void skip_at(struct reader *r, int depth) {
	struct item i = next(r);
	if (i.kind != ARRAY && i.kind != MAP) return;
	if (depth == 8) r->bad = true;
	for (uint64_t n = i.kind == MAP ? 2 * i.n : i.n; n > 0 && !r->bad; n--) skip_at(r, depth + 1);
}

static void skip(struct reader *r) { skip_at(r, 2); }

static uint64_t number(struct reader *r) {
	struct item i = expect(r, UINT);
	if (i.n > 9007199254740991) r->bad = true;
	return r->bad ? 0 : i.n;
}

static struct slice blob(struct reader *r, enum kind k, size_t least, size_t most) {
	struct item i = expect(r, k);
	if (!r->bad && (i.n < least || i.n > most)) r->bad = true;
	return r->bad ? (struct slice){0} : (struct slice){i.p, i.n};
}

// fields goes through a map with integer keys: while (key(&f)) switch (f.key) { ... default: skip(r); }
struct fields { struct reader *r; uint64_t left, key, seen; };

static struct fields fields(struct reader *r) { return (struct fields){r, expect(r, MAP).n, 0, 0}; }

static bool key(struct fields *f) {
	if (f->r->bad || f->left == 0) return false;
	f->left--;
	struct item i = next(f->r);
	if (i.kind != UINT && i.kind != NINT) return f->r->bad = true, false;
	f->key = i.kind == UINT ? i.n : UINT64_MAX;
	if (f->key < 64) {
		if (f->seen >> f->key & 1) return f->r->bad = true, false;
		f->seen |= UINT64_C(1) << f->key;
	}
	return true;
}

static bool has(const struct fields *f, unsigned k) { return f->seen >> k & 1; }

// whole reports whether the frame was read to its end and has the keys of need.
static bool whole(const struct fields *f, uint64_t need) {
	return !f->r->bad && f->r->p == f->r->end && (f->seen & need) == need;
}

#define KEY(k) (UINT64_C(1) << (k))

// ---- CBOR that goes ------------------------------------------------------------------------------

static size_t filled;
static bool overflow;

#define ROOM out + filled, sizeof out - filled

// put takes in what an encoder has written into ROOM; 0: it did not fit.
static void put(size_t n) {
	if (n == 0) overflow = true;
	filled += n;
}

static void put_uint(uint64_t v) { put(cbor_encode_uint(v, ROOM)); }
static void put_map(size_t n) { put(cbor_encode_map_start(n, ROOM)); }
static void put_array(size_t n) { put(cbor_encode_array_start(n, ROOM)); }
static void put_bool(bool v) { put(cbor_encode_bool(v, ROOM)); }

static void put_raw(const void *p, size_t n) {
	if (n > sizeof out - filled) overflow = true;
	else memcpy(out + filled, p, n), filled += n;
}

static void put_bytes(const void *p, size_t n) {
	put(cbor_encode_bytestring_start(n, ROOM));
	put_raw(p, n);
}

static void put_string(const char *s) {
	put(cbor_encode_string_start(strlen(s), ROOM));
	put_raw(s, strlen(s));
}

static void put_number(double v) {
	if (v == floor(v) && fabs(v) < 9e15)
		v < 0 ? put(cbor_encode_negint((uint64_t)(-v - 1), ROOM)) : put_uint((uint64_t)v);
	else
		put(cbor_encode_double(v, ROOM));
}

// frame begins one of n pairs, of which the seq is the first.
static void frame(size_t n) {
	filled = 0, overflow = false;
	put_map(n);
	put_uint(0), put_uint(conn.seq++);
}

// publish sends what is in out. It returns the packet's ID, -1 if it could not be sent.
static int publish(const char *leaf, int qos) {
	char topic[64];
	int mid = -1;
	snprintf(topic, sizeof topic, "pl/1/%s/%s", conn.id, leaf);
	int rc = overflow ? MOSQ_ERR_PAYLOAD_SIZE : mosquitto_publish(conn.m, &mid, topic, (int)filled, out, qos, false);
	if (rc != MOSQ_ERR_SUCCESS) {
		note("cannot send %s: %s", leaf, mosquitto_strerror(rc));
		conn.over = true;
		return -1;
	}
	return mid;
}

// ---- what goes on around it ----------------------------------------------------------------------

struct attribute {
	const char *name;
	char type;         // b: true or false, n: number, w: one of words, t: text
	const char *words; // each between two spaces
	const char *start;
};

struct class {
	const char *name;
	unsigned number;
	unsigned forms[3];
	size_t nforms;
	int64_t lifetime; // ms, of the attribute with the shortest
	struct attribute attribute[ATTRIBUTES];
};

#define POWER {"power.state", 'w', " on standby off ", "on"}

static const struct class classes[] = {
	{"fridge", 5, {2, 0}, 2, 600000, {POWER, {"door.open", 'b', 0, "false"}, {"temperature", 'n', 0, "4"}, {"alarm", 'b', 0, "false"}}},
	{"tv", 1, {2, 3}, 2, 60000,
	 {POWER, {"state", 'w', " off on idle playing paused buffering standby ", "idle"}, {"full_screen", 'b', 0, "false"},
	  {"dnd", 'b', 0, "false"}, {"alarm", 'b', 0, "false"}}},
	{"car", 4, {1}, 1, 5000,
	 {POWER, {"ux.driving", 'w', " parked idling moving unknown ", "parked"}, {"Vehicle.Speed", 'n', 0, "0"}, {"dnd", 'b', 0, "false"}}},
};

struct value { enum { UNKNOWN, TRUTH, NUMBER, WORD } kind; bool truth; double number; char word[TEXT]; };

static const struct class *class;
static struct value values[ATTRIBUTES];

static size_t attributes(void) {
	size_t n = 0;
	while (n < ATTRIBUTES && class->attribute[n].name) n++;
	return n;
}

static struct value *value_of(struct slice name) {
	for (size_t i = 0; i < attributes(); i++)
		if (strlen(class->attribute[i].name) == name.n && memcmp(class->attribute[i].name, name.p, name.n) == 0) return &values[i];
	return NULL;
}

// set gives attribute i a value that was typed.
static bool set(size_t i, const char *typed) {
	const struct attribute *a = &class->attribute[i];
	struct value v = {0};
	char *end, word[TEXT + 2];
	if (strcmp(typed, "unknown") == 0 && a->type != 'w') {
		values[i] = v;
		return true;
	}
	switch (a->type) {
	case 'b':
		v.kind = TRUTH, v.truth = strcmp(typed, "true") == 0;
		if (!v.truth && strcmp(typed, "false") != 0) return false;
		break;
	case 'n':
		v.kind = NUMBER, v.number = strtod(typed, &end);
		if (end == typed || *end || !isfinite(v.number)) return false;
		break;
	default:
		if (strlen(typed) >= sizeof v.word) return false;
		v.kind = WORD, strcpy(v.word, typed);
		snprintf(word, sizeof word, " %s ", typed);
		if (a->type == 'w' && !strstr(a->words, word)) return false;
	}
	values[i] = v;
	return true;
}

static bool is(const char *name, const char *word) {
	struct value *v = value_of((struct slice){(const uint8_t *)name, strlen(name)});
	return v && ((v->kind == WORD && strcmp(v->word, word) == 0) || (v->kind == TRUTH && strcmp(v->truth ? "true" : "false", word) == 0));
}

// blocked is why the device itself shows nothing just now; 0: it does.
static int blocked(void) {
	if (leaving || !is("power.state", "on") || is("alarm", "true")) return BUSY;
	if (is("dnd", "true")) return USER_DND;
	return class->number == 4 && !is("ux.driving", "parked") ? DRIVING : 0;
}

// compare is 1 if v op i holds, 0 if it does not. What cannot be compared does not hold.
static int compare(const struct value *v, struct slice op, struct item i) {
	double d = 0;
	if (!v || op.n != 2) return 0;
	switch (v->kind) {
	case TRUTH:
		if (i.kind != BOOL) return 0;
		d = v->truth - (double)i.n;
		break;
	case NUMBER:
		if (i.kind != UINT && i.kind != NINT && i.kind != FLOAT) return 0;
		d = v->number - (i.kind == FLOAT ? i.f : i.kind == UINT ? (double)i.n : -1 - (double)i.n);
		break;
	case WORD:
		if (i.kind != STRING) return 0;
		d = strlen(v->word) != i.n || memcmp(v->word, i.p, i.n) != 0;
		break;
	default:
		return 0;
	}
	bool ordered = v->kind == NUMBER;
	if (memcmp(op.p, "eq", 2) == 0) return d == 0;
	if (memcmp(op.p, "ne", 2) == 0) return d != 0;
	if (memcmp(op.p, "lt", 2) == 0) return ordered && d < 0;
	if (memcmp(op.p, "le", 2) == 0) return ordered && d <= 0;
	if (memcmp(op.p, "gt", 2) == 0) return ordered && d > 0;
	return memcmp(op.p, "ge", 2) == 0 && ordered && d >= 0;
}

// guards is 1 if all of them hold, 0 if one does not, -1 if they cannot be read.
static int guards(struct slice s) {
	int hold = 1;
	if (!s.p) return 1;
	struct reader r = {s.p, s.p + s.n, false};
	for (uint64_t n = expect(&r, MAP).n; n > 0 && !r.bad; n--) {
		struct slice name = blob(&r, STRING, 1, 64);
		if (expect(&r, ARRAY).n != 2) r.bad = true;
		struct slice op = blob(&r, STRING, 1, 64);
		struct item i = next(&r);
		if (i.kind == BYTES || i.kind == ARRAY || i.kind == MAP || (i.kind == STRING && i.n > 64)) r.bad = true;
		if (!r.bad) hold &= compare(value_of(name), op, i);
	}
	return r.bad ? -1 : hold;
}

// ---- ledger and outbox --------------------------------------------------------------------------

static struct event *line_of(const uint8_t *id) {
	for (size_t i = 0; i < LINES; i++)
		if (book.ledger[i].kind && memcmp(book.ledger[i].id, id, 16) == 0) return &book.ledger[i];
	return NULL;
}

// enter writes the last event of a message that is or was on the screen; the oldest line makes room.
static void enter(struct event e) {
	struct event *l = line_of(e.id);
	for (size_t i = 0; !l && i < LINES; i++)
		if (!book.ledger[i].kind) l = &book.ledger[i];
	if (!l) {
		memmove(book.ledger, book.ledger + 1, sizeof book.ledger - sizeof book.ledger[0]);
		l = &book.ledger[LINES - 1];
	}
	*l = e;
}

static void drop_owed(size_t i) {
	memmove(&book.outbox[i], &book.outbox[i + 1], (--book.owing - i) * sizeof book.outbox[0]);
}

// owe puts o into the outbox. When it is full the oldest line goes that the gateway can ask for again,
// by sending the message or the cancel once more; what a person has said goes last.
static void owe(struct owed o) {
	for (size_t i = 0; i < book.owing; i++)
		if (!o.base && !book.outbox[i].base && !book.outbox[i].sending && memcmp(&book.outbox[i].event, &o.event, sizeof o.event) == 0) return;
	if (book.owing == OWING) {
		size_t victim = OWING;
		for (size_t i = OWING; i-- > 0;)
			if (!book.outbox[i].sending && !book.outbox[i].base && book.outbox[i].event.kind != RESPONDED && book.outbox[i].event.kind != DISMISSED)
				victim = i;
		if (victim == OWING) victim = book.outbox[0].sending ? 1 : 0;
		drop_owed(victim);
	}
	o.at = gateway_time();
	book.outbox[book.owing++] = o;
}

static void owe_event(struct event e) { owe((struct owed){.event = e}); }

static struct event happened(const uint8_t *id, int kind, int reason) {
	struct event e = {.kind = (uint8_t)kind, .reason = (uint8_t)reason};
	memcpy(e.id, id, 16);
	return e;
}

// wake_up settles what the power cut has ended: what was on the screen failed.
static void wake_up(void) {
	bool changed = false;
	for (size_t i = 0; i < book.owing; i++) book.outbox[i].sending = false;
	for (size_t i = 0; i < LINES; i++) {
		if (book.ledger[i].kind != PRESENTED) continue;
		book.ledger[i] = happened(book.ledger[i].id, FAILED, INTERNAL);
		owe_event(book.ledger[i]);
		changed = true;
	}
	if (changed) save_book();
}

// pump sends the oldest line, one at a time.
static void pump(void) {
	if (!conn.m || !conn.up || conn.applicant || !conn.born || conn.mid >= 0 || conn.bye >= 0) return;
	for (size_t i = 0; i < book.owing; i++) {
		struct owed *o = &book.outbox[i];
		if (o->stale) continue;
		if (o->at && !timed) return; // how long ago it was shows the first beacon
		uint64_t now = gateway_time();
		conn.sent = conn.seq;
		conn.code = 0;
		if (o->base) {
			frame(3);
			put_uint(1), put_uint(o->base);
			put_uint(3), put_array(1), put_map(3);
			put_uint(0), put_string(o->choice.brand);
			put_uint(2), put_string(o->choice.purpose);
			put_uint(3), put_string(o->choice.choice);
			conn.mid = publish("up/twin", 1);
		} else {
			const struct event *e = &o->event;
			bool old = o->at && now > o->at;
			frame(3 + (size_t)(e->pressed != 0) + (e->wish != 0) + (e->reason != 0) + old);
			put_uint(1), put_bytes(e->id, 16);
			put_uint(2), put_uint(e->kind);
			if (e->pressed) put_uint(3), put_uint(e->button);
			if (e->wish) put_uint(4), put_uint(e->wish - 1u);
			if (e->reason) put_uint(5), put_uint(e->reason);
			if (old) put_uint(6), put_uint(now - o->at);
			conn.mid = publish("up/evt", 1);
		}
		o->sending = conn.mid >= 0;
		return;
	}
}

// acknowledged takes in the PUBACK of the line that was on its way; code is 0, or why it was refused.
static void acknowledged(int code) {
	conn.mid = -1;
	for (size_t i = 0; i < book.owing; i++) {
		struct owed *o = &book.outbox[i];
		if (!o->sending) continue;
		o->sending = false;
		if (code == 0x83 && o->base && (strcmp(o->choice.choice, "refused") == 0 || strcmp(o->choice.choice, "withdrawn") == 0)) {
			o->stale = book.twin <= o->base; // a plain no is said again, on the new document
			o->base = book.twin > o->base ? book.twin : o->base;
			save_book();
			return;
		}
		if (code && o->base)
			say(code == 0x83 ? "choice %s %s: look again" : code == 0x87 ? "choice %s %s: on another device" : "choice %s %s: not taken",
			    o->choice.brand, o->choice.purpose);
		drop_owed(i);
		save_book();
		return;
	}
}

// ---- the screen ---------------------------------------------------------------------------------

// off takes the message off, and owes the event.
static void off(struct event e) {
	bool shown = screen.state == SHOWN;
	screen.state = CLEAR;
	if (shown) {
		say("screen clear");
		enter(e);
	}
	owe_event(e);
	save_book();
}

static void off_as(int kind, int reason) { off(happened(screen.p.id, kind, reason)); }

static void show(void) {
	struct event e = happened(screen.p.id, PRESENTED, 0);
	enter(e);
	owe_event(e);
	if (!save_book()) { // what is not written down nobody may see
		screen.state = CLEAR;
		enter(happened(e.id, FAILED, INTERNAL));
		owe_event(happened(e.id, FAILED, INTERNAL));
		return;
	}
	screen.state = SHOWN, screen.began = steady();
	const struct present *p = &screen.p;
	char id[33];
	hex(id, p->id, 16);
	printf("screen %s ", id);
	put_plain(p->sender), printf(": ");
	if (p->title.n) put_plain(p->title), printf(": ");
	put_plain(p->text);
	for (size_t i = 0; i < p->buttons; i++) printf(" [%" PRIu64 " ", p->button[i].id), put_plain(p->button[i].label), putchar(']');
	say(" [not now]");
}

// unfit is the event with which a message may not be on the screen just now; its kind is 0 if it may.
static struct event unfit(const struct present *p, int64_t came) {
	bool known = !(p->has & KEY(10));
	for (size_t i = 0; i < class->nforms; i++) known |= p->form == class->forms[i];
	int64_t now = steady();
	uint64_t clock = gateway_time();
	if (!known || p->buttons > BUTTONS || p->has & KEY(19)) return happened(p->id, DECLINED, UNSUPPORTED_FORM);
	if ((uint64_t)(now - came) >= p->live || (clock && clock / 1000 >= p->valid)) return happened(p->id, EXPIRED, 0);
	if (guards(p->guards) != 1) return happened(p->id, DECLINED, GUARD_FAILED);
	int why = blocked();
	return why ? happened(p->id, DECLINED, why) : happened(p->id, 0, 0);
}

// after is t ms after from, or as late as can be.
static int64_t after(int64_t from, uint64_t t) { return from + (int64_t)(t < 1u << 30 ? t : 1u << 30); }

// settle lets time and change act.
static void settle(void) {
	if (screen.state == CLEAR) return;
	const struct present *p = &screen.p;
	if (due(after(screen.renewed, p->lease))) return off_as(EXPIRED, 0);
	struct event e = unfit(p, screen.came);
	if (e.kind) return off(e);
	if (screen.state == WAITING && conn.up && conn.beaconed) return show();
	due(after(screen.came, p->live));
	if (timed) due((int64_t)p->valid * 1000 - ahead);
	if (screen.state == SHOWN && p->has & KEY(11) && due(after(screen.began, p->display))) off_as(TIMED_OUT, 0);
}

// ---- frames that come ------------------------------------------------------------------------------

static bool same(struct slice s, const uint8_t *id) { return memcmp(s.p, id, 16) == 0; }

static void unreadable(const char *leaf) { note("%s cannot be read", leaf); }

static void set_clock(uint64_t t) {
	ahead = (int64_t)t - steady();
	timed = true;
	if (t < book.clock || t - book.clock >= 86400000) {
		book.clock = t;
		save_book();
	}
}

static void raise_fence(uint64_t to) {
	if (to <= book.fence) return;
	book.fence = to;
	save_book();
}

static void take_time(struct reader *r) {
	uint64_t clock = 0, fence = 0;
	bool named = false;
	struct fields f = fields(r);
	while (key(&f)) switch (f.key) {
	case 0: clock = number(r); break;
	case 1: fence = number(r); break;
	case 2:
		for (uint64_t n = expect(r, ARRAY).n; n > 0 && !r->bad; n--) {
			struct slice id = blob(r, BYTES, 16, 16);
			if (!r->bad && same(id, screen.p.id)) named = true;
		}
		break;
	default: skip(r);
	}
	if (!whole(&f, KEY(0) | KEY(1) | KEY(2))) return unreadable("dn/time");
	set_clock(clock);
	raise_fence(fence);
	if (!conn.beaconed) {
		conn.beaconed = true;
		failures = 0;
		say("ready");
	}
	if (screen.state == CLEAR) return;
	if (!named) return off_as(CANCELLED, 0);
	screen.renewed = steady();
	if (screen.p.epoch < fence) screen.p.epoch = fence;
}

static void read_buttons(struct reader *r, struct present *p) {
	for (uint64_t n = expect(r, ARRAY).n; n > 0 && !r->bad; n--) {
		struct fields f = fields(r);
		uint64_t id = 0;
		struct slice label = {0};
		while (key(&f)) switch (f.key) {
		case 0: id = number(r); break;
		case 1: label = blob(r, STRING, 1, 32); break;
		default: skip(r);
		}
		if (!has(&f, 0) || !has(&f, 1) || id > UINT32_MAX) r->bad = true;
		if (p->buttons < BUTTONS) p->button[p->buttons].id = id, p->button[p->buttons].label = label;
		p->buttons++;
	}
}

// read_msg reads a present or a cancel. It is false if it is neither.
static bool read_msg(struct reader *r, struct present *p) {
	struct slice id = {0};
	const uint8_t *from;
	uint64_t duties = 0; // how it must be shown; this device has named none in its birth
	struct fields f = fields(r);
	*p = (struct present){0};
	while (key(&f)) switch (f.key) {
	case 0: p->op = number(r); break;
	case 1:
		id = blob(r, BYTES, 16, 16);
		if (!r->bad) memcpy(p->id, id.p, 16), p->has |= KEY(1);
		break;
	case 2: p->fence = number(r); break; // of a present: its priority
	case 3: number(r); break;
	case 4: p->valid = number(r); break;
	case 5: p->live = number(r); break;
	case 6: p->text = blob(r, STRING, 1, 512); break;
	case 7: p->title = blob(r, STRING, 1, 64); break;
	case 8: p->sender = blob(r, STRING, 1, 64); break;
	case 9: read_buttons(r, p); break;
	case 10: p->form = number(r); break;
	case 11: p->display = number(r); break;
	case 13:
		from = r->p;
		skip(r);
		p->guards = (struct slice){from, (size_t)(r->p - from)};
		break;
	case 16: p->lease = number(r); break;
	case 17: p->epoch = number(r); break;
	case 19: if (number(r)) duties = KEY(19); break;
	default: skip(r);
	}
	p->has |= (uint32_t)((f.seen & ~(KEY(1) | KEY(19))) | duties);
	uint64_t all = KEY(0) | KEY(1) | KEY(2) | KEY(3) | KEY(4) | KEY(5) | KEY(6) | KEY(16) | KEY(17);
	return (p->op == 2 && whole(&f, KEY(0) | KEY(1))) || (p->op == 1 && whole(&f, all) && guards(p->guards) >= 0);
}

static void answer(struct event e) {
	owe_event(e);
	save_book();
}

static void take_msg(const uint8_t *b, size_t n, bool cut) {
	struct present p;
	struct reader r = {b, b + n, false};
	bool ok = read_msg(&r, &p);
	if (cut && p.op == 1 && p.has & KEY(1)) return answer(happened(p.id, DECLINED, TOO_LARGE)); // op and ID are its beginning
	if (!ok || cut) return unreadable("dn/msg");
	bool here = screen.state != CLEAR && memcmp(screen.p.id, p.id, 16) == 0;
	struct event *was = line_of(p.id);
	if (p.op == 2) {
		if (p.has & KEY(2)) raise_fence(p.fence);
		here ? off_as(CANCELLED, 0) : answer(happened(p.id, CANCELLED, 0));
		return;
	}
	if (here) {
		if (p.epoch > screen.p.epoch) screen.p.epoch = p.epoch, screen.p.lease = p.lease, screen.renewed = steady();
		answer(happened(p.id, screen.state == SHOWN ? PRESENTED : QUEUED, 0));
		return;
	}
	if (was) return answer(*was);
	if (p.epoch < book.fence) return answer(happened(p.id, DECLINED, STALE));
	int64_t now = steady();
	struct event e = unfit(&p, now);
	if (e.kind == DECLINED && e.reason == UNSUPPORTED_FORM) return answer(e);
	if (n > sizeof screen.frame) return answer(happened(p.id, DECLINED, TOO_LARGE));
	if (e.kind) return answer(e);
	if (screen.state != CLEAR) return answer(happened(p.id, DECLINED, BUSY));
	memcpy(screen.frame, b, n);
	r = (struct reader){screen.frame, screen.frame + n, false};
	read_msg(&r, &screen.p); // what it points at is there to stay
	screen.state = WAITING;
	screen.came = screen.renewed = now;
	settle();
}

// read_doc reads the document of choices; with aloud it says them, as its settings would show them.
static void read_doc(struct reader *r, bool aloud) {
	struct fields doc = fields(r);
	while (key(&doc)) {
		if (doc.key != 0) {
			skip(r);
			continue;
		}
		for (uint64_t n = expect(r, ARRAY).n; n > 0 && !r->bad; n--) {
			struct slice brand = {0}, purpose = {0}, choice = {0};
			struct fields f = fields(r);
			while (key(&f)) switch (f.key) {
			case 0: brand = blob(r, STRING, 2, 32); break;
			case 2: purpose = blob(r, STRING, 1, 32); break;
			case 3: choice = blob(r, STRING, 1, 16); break;
			default: skip(r);
			}
			if ((f.seen & (KEY(0) | KEY(2) | KEY(3))) != (KEY(0) | KEY(2) | KEY(3))) r->bad = true;
			if (!aloud || r->bad) continue;
			printf("choice "), put_plain(brand), putchar(' '), put_plain(purpose), putchar(' '), put_plain(choice);
			say("");
		}
	}
}

static bool read_twin(struct reader r, uint64_t *version, bool aloud) {
	struct fields f = fields(&r);
	while (key(&f)) switch (f.key) {
	case 0: *version = number(&r); break;
	case 1: read_doc(&r, aloud); break;
	default: skip(&r);
	}
	return whole(&f, KEY(0) | KEY(1));
}

static void take_twin(const uint8_t *b, size_t n) {
	uint64_t version = 0;
	struct reader r = {b, b + n, false};
	struct slice file = {b, n};
	if (!read_twin(r, &version, false)) return unreadable("dn/twin");
	if (conn.twinned && version <= book.twin) return;
	if (!save("document", &file, 1)) return;
	conn.twinned = true;
	book.twin = version;
	for (size_t i = 0; i < book.owing; i++) {
		struct owed *o = &book.outbox[i];
		if (o->stale && version > o->base) o->base = version, o->stale = false;
	}
	save_book();
	say("choices %" PRIu64, version);
	read_twin(r, &version, true);
}

static void take_err(struct reader *r) {
	uint64_t seq = 0, code = 0;
	struct slice leaf = {0}, text = {0};
	struct fields f = fields(r);
	while (key(&f)) switch (f.key) {
	case 0: seq = number(r); break;
	case 1: code = number(r); break;
	case 2: leaf = blob(r, STRING, 0, 64); break;
	case 3: text = blob(r, STRING, 0, 512); break;
	default: skip(r);
	}
	if (!whole(&f, KEY(0) | KEY(1))) return unreadable("dn/err");
	note("refused: frame %" PRIu64 " on %.*s, %" PRIu64 ": %.*s", seq, (int)leaf.n, (const char *)leaf.p, code, (int)text.n, (const char *)text.p);
	if (conn.mid >= 0 && seq == conn.sent) conn.code = (int)code; // its PUBACK is still to come
}

// ---- keys and certificates ------------------------------------------------------------------------

enum part { P_ID, P_NAME, P_KEY, P_CERT, P_TOKEN, P_CA, P_CA2, PARTS };

static void sha256(uint8_t *to, const void *p, size_t n) { EVP_Digest(p, n, to, NULL, EVP_sha256(), NULL); }

// key_hash is SHA-256 of a SubjectPublicKeyInfo.
static bool key_hash(uint8_t *to, EVP_PKEY *key) {
	uint8_t der[256], *p = der;
	int n = i2d_PUBKEY(key, NULL);
	if (n <= 0 || n > (int)sizeof der || i2d_PUBKEY(key, &p) != n) return false;
	sha256(to, der, (size_t)n);
	return true;
}

static bool cert_hash(uint8_t *to, X509 *cert) {
	uint8_t der[512], *p = der;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), NULL);
	if (n <= 0 || n > (int)sizeof der || i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &p) != n) return false;
	sha256(to, der, (size_t)n);
	return true;
}

static X509 *read_cert(struct slice s) {
	const uint8_t *p = s.p;
	X509 *x = s.n ? d2i_X509(NULL, &p, (long)s.n) : NULL;
	if (x && p != s.p + s.n) X509_free(x), x = NULL;
	return x;
}

static EVP_PKEY *read_key(struct slice s) {
	const uint8_t *p = s.p;
	return s.n ? d2i_AutoPrivateKey(NULL, &p, (long)s.n) : NULL;
}

// write_key writes a private key into der, and returns how long it is; 0 if it does not fit.
static size_t write_key(EVP_PKEY *key, uint8_t *der, size_t size) {
	int n = i2d_PrivateKey(key, NULL);
	return n > 0 && (size_t)n <= size && i2d_PrivateKey(key, &der) == n ? (size_t)n : 0;
}

// put_request puts a certificate request for key into the frame that goes.
static void put_request(EVP_PKEY *key) {
	X509_REQ *q = X509_REQ_new();
	int n = 0;
	if (q && X509_REQ_set_version(q, 0) && X509_REQ_set_pubkey(q, key) && X509_REQ_sign(q, key, EVP_sha256())) n = i2d_X509_REQ(q, NULL);
	if (n <= 0 || n > 1024) n = 0, overflow = true;
	put(cbor_encode_bytestring_start((size_t)n, ROOM));
	if ((size_t)n > sizeof out - filled) overflow = true;
	if (!overflow) {
		uint8_t *p = out + filled;
		filled += (size_t)i2d_X509_REQ(q, &p);
	}
	X509_REQ_free(q);
}

// save_who writes a credential down: each part behind its length.
static bool save_who(const char *file, const struct slice part[PARTS]) {
	uint8_t length[PARTS][2];
	struct slice all[2 * PARTS];
	for (size_t i = 0; i < PARTS; i++) {
		length[i][0] = (uint8_t)(part[i].n >> 8), length[i][1] = (uint8_t)part[i].n;
		all[2 * i] = (struct slice){length[i], 2}, all[2 * i + 1] = part[i];
	}
	return save(file, all, 2 * PARTS);
}

// load_who reads it into in. It is false if there is none.
static bool load_who(const char *file, struct slice part[PARTS]) {
	size_t n = load(file, in, sizeof in), at = 0;
	for (size_t i = 0; i < PARTS; i++) {
		if (n - at < 2) return false;
		size_t len = (size_t)in[at] << 8 | in[at + 1];
		at += 2;
		if (n - at < len) return false;
		part[i] = (struct slice){in + at, len};
		at += len;
	}
	return part[P_ID].n > 0 && part[P_ID].n < ID && part[P_NAME].n < NAME && part[P_TOKEN].n < NAME;
}

static void copy(char *to, struct slice s) {
	if (s.n) memcpy(to, s.p, s.n);
	to[s.n] = 0;
}

static struct slice of(const char *s) { return (struct slice){(const uint8_t *)s, strlen(s)}; }

static bool exists(const char *file) { return faccessat(folder, file, F_OK, 0) == 0; }

// forget erases all that belongs to its identity, but for the file to keep.
static void forget(const char *keep) {
	static const char *files[] = {"who", "who.new", "key", "applying", "book", "document", "new"};
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (!keep || strcmp(files[i], keep) != 0) erase(files[i]);
	if (me.given) { // the command line would give it again
		struct slice id = of(me.id);
		save("not", &id, 1);
	}
	OPENSSL_cleanse(&me, sizeof me);
	OPENSSL_cleanse(&book, sizeof book);
	OPENSSL_cleanse(&screen, sizeof screen);
	EVP_PKEY_free(young), young = NULL;
	timed = fresh_failed = waiting_for_person = false;
	refusals = failures = 0;
	applying_since = 0;
}

// ---- TLS ------------------------------------------------------------------------------------------

static struct {
	EVP_PKEY *key;
	uint8_t hash[HASH]; // of the key; 0 without one
	uint8_t ca[HASH];   // of the last certificate of the chain
	struct { uint8_t nonce_d[NONCE], nonce_g[NONCE], ca[HASH]; } open; // what is committed to, and to what it was revealed
	bool again;         // the nonce was revealed before
} enrol;

// name_server sends the name that the certificate has as SNI, or none: libmosquitto would send what it
// has dialled, which may be an address.
static void name_server(const SSL *s, int where, int ret) {
	(void)ret;
	if (where & SSL_CB_HANDSHAKE_START) SSL_set_tlsext_host_name((SSL *)(uintptr_t)s, conn.applicant || !me.name[0] ? NULL : me.name);
}

// chain_holds is all that a device knows of the gateway that it applies to: each certificate is signed
// by the one behind it, and the first is a server's. It remembers whose key the last one has.
static int chain_holds(X509_STORE_CTX *s, void *arg) {
	(void)arg;
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(s);
	X509 *last = chain && sk_X509_num(chain) > 1 ? sk_X509_value(chain, sk_X509_num(chain) - 1) : NULL;
	X509_STORE *anchor = X509_STORE_new();
	X509_STORE_CTX *c = X509_STORE_CTX_new();
	int ok = last && anchor && c && X509_STORE_add_cert(anchor, last) == 1 &&
		X509_STORE_CTX_init(c, anchor, X509_STORE_CTX_get0_cert(s), chain) == 1;
	if (ok) {
		// Of the same authority is every device that was let in. Only its purpose tells a server from these.
		X509_STORE_CTX_set_purpose(c, X509_PURPOSE_SSL_SERVER);
		X509_STORE_CTX_set_flags(c, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME);
		ok = X509_verify_cert(c) == 1 && cert_hash(enrol.ca, last);
	}
	X509_STORE_CTX_free(c);
	X509_STORE_free(anchor);
	conn.unverified = !ok;
	if (!ok) X509_STORE_CTX_set_error(s, X509_V_ERR_APPLICATION_VERIFICATION);
	return ok;
}

static int verified(int ok, X509_STORE_CTX *s) {
	if (!ok) {
		conn.unverified = true;
		say("the gateway does not verify: %s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(s)));
	}
	return ok;
}

// secure makes the TLS settings of one connection: whom it trusts under which name, and what it shows.
static bool secure(const struct slice part[PARTS]) {
	SSL_CTX *t = conn.tls = SSL_CTX_new(TLS_client_method());
	if (!t || !SSL_CTX_set_min_proto_version(t, TLS1_2_VERSION)) return false;
	SSL_CTX_set_info_callback(t, name_server);
	if (conn.applicant) {
		SSL_CTX_set_verify(t, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set_cert_verify_callback(t, chain_holds, NULL);
		return true;
	}
	SSL_CTX_set_verify(t, SSL_VERIFY_PEER, verified);
	X509_VERIFY_PARAM *v = SSL_CTX_get0_param(t);
	const char *name = me.name[0] ? me.name : opt.host;
	X509_VERIFY_PARAM_set_flags(v, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_hostflags(v, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (!(me.name[0] ? X509_VERIFY_PARAM_set1_host(v, name, 0) : X509_VERIFY_PARAM_set1_ip_asc(v, name) || X509_VERIFY_PARAM_set1_host(v, name, 0)))
		return false;
	uint64_t now = gateway_time();
	if (now) X509_VERIFY_PARAM_set_time(v, (time_t)(now / 1000));
	else X509_VERIFY_PARAM_set_flags(v, X509_V_FLAG_NO_CHECK_TIME);
	if (!part[P_CA].n) return me.given && SSL_CTX_load_verify_file(t, opt.ca) == 1;
	for (size_t i = P_CA; i <= P_CA2; i++) {
		X509 *ca = read_cert(part[i]);
		if (ca) X509_STORE_add_cert(SSL_CTX_get_cert_store(t), ca);
		X509_free(ca);
	}
	if (!part[P_CERT].n) return true;
	EVP_PKEY *key = read_key(part[P_KEY]);
	bool ok = key && SSL_CTX_use_certificate_ASN1(t, (int)part[P_CERT].n, part[P_CERT].p) == 1 && SSL_CTX_use_PrivateKey(t, key) == 1;
	EVP_PKEY_free(key);
	X509 *own = SSL_CTX_get0_certificate(t);
	time_t latest = (time_t)((now ? now : book.clock) / 1000);
	conn.ended = own && latest && X509_cmp_time(X509_get0_notAfter(own), &latest) < 0;
	return ok;
}

// ---- frames that go ---------------------------------------------------------------------------------

static void put_model(void) {
	put_map(2);
	put_uint(0), put_string("Polar");
	put_uint(1), put_string("C11");
}

static void put_value(const struct value *v) {
	switch (v->kind) {
	case TRUTH: put_bool(v->truth); break;
	case NUMBER: put_number(v->number); break;
	case WORD: put_string(v->word); break;
	default: put(cbor_encode_null(ROOM));
	}
}

// tell says one attribute, or with -1 all that is known.
static void tell(int which) {
	if (!conn.born || leaving) return;
	size_t n = which >= 0;
	for (size_t i = 0; which < 0 && i < attributes(); i++) n += values[i].kind != UNKNOWN;
	frame(2 + (size_t)(which < 0));
	put_uint(3), put_map(n);
	for (size_t i = 0; i < attributes(); i++)
		if (which < 0 ? values[i].kind != UNKNOWN : (size_t)which == i) put_uint(i), put_value(&values[i]);
	if (which < 0) put_uint(4), put_bool(true), conn.told = steady();
	publish("up/ctx", 0);
}

static void birth(void) {
	uint64_t now = gateway_time();
	bool held = screen.state != CLEAR;
	frame(7 + (size_t)(now != 0) + held);
	put_uint(1), put_model();
	put_uint(2), put_uint(class->number);
	put_uint(3), put_map(6);
	put_uint(0), put_array(3), put_uint(800), put_uint(480), put_uint(180);
	put_uint(1), put_uint(4);
	put_uint(3), put_array(class->nforms);
	for (size_t i = 0; i < class->nforms; i++) put_uint(class->forms[i]);
	put_uint(4), put_uint(FRAME_IN + 128);
	put_uint(5), put_uint(BUTTONS);
	put_uint(6), put_array(1), put_string("en");
	put_uint(4), put_array(attributes());
	for (size_t i = 0; i < attributes(); i++) put_string(class->attribute[i].name);
	put_uint(5), put_uint(book.twin);
	if (now) put_uint(6), put_uint(now);
	put_uint(7), put_string("1.0");
	if (held) put_uint(8), put_array(1), put_bytes(screen.p.id, 16);
	if (publish("up/birth", 1) >= 0) conn.born = steady();
	tell(-1);
}

// ask_for_key asks for a new credential: with a new key, if this one is a key.
static void ask_for_key(void) {
	if (conn.asked && steady() - conn.asked < 10000) return;
	conn.asked = steady();
	bool token = me.token[0];
	EVP_PKEY_free(young);
	young = token ? NULL : EVP_EC_gen("P-256");
	if (!token && !young) return;
	frame(1 + (size_t)!token);
	if (!token) put_uint(1), put_request(young);
	publish("up/key", 1);
}

// ---- being let in, new keys, wipe ---------------------------------------------------------------------

static void random_bytes(uint8_t *to, size_t n) {
	if (RAND_bytes(to, (int)n) != 1) note("no randomness"), exit(1);
}

static void commitment(uint8_t *to) {
	uint8_t b[19 + HASH + NONCE];
	memcpy(b, "porchlight-commit-1", 19);
	memcpy(b + 19, enrol.hash, HASH);
	memcpy(b + 19 + HASH, enrol.open.nonce_d, NONCE);
	sha256(to, b, sizeof b);
}

// prepare makes what an application begins with, and the client ID. The key stays until it is let in.
static bool prepare(void) {
	uint8_t der[256], commit[HASH];
	memset(enrol.hash, 0, HASH);
	if (!opt.keyless) {
		if (!enrol.key) enrol.key = read_key((struct slice){der, load("key", der, sizeof der)});
		if (!enrol.key) {
			enrol.key = EVP_EC_gen("P-256");
			struct slice file = {der, enrol.key ? write_key(enrol.key, der, sizeof der) : 0};
			if (!file.n || !save("key", &file, 1)) return false;
		}
		OPENSSL_cleanse(der, sizeof der);
		if (!key_hash(enrol.hash, enrol.key)) return false;
	}
	enrol.again = opt.keyless && load("applying", &enrol.open, sizeof enrol.open) == sizeof enrol.open;
	if (!enrol.again) random_bytes(enrol.open.nonce_d, NONCE);
	commitment(commit);
	strcpy(conn.id, "e-");
	hex(conn.id + 2, opt.keyless ? commit : enrol.hash, 8);
	return true;
}

static void apply(void) {
	uint8_t commit[HASH];
	commitment(commit);
	filled = 0, overflow = false;
	put_map(5 + (size_t)!opt.keyless);
	put_uint(0), put_uint(1);
	put_uint(1), put_bytes(commit, HASH);
	if (!opt.keyless) put_uint(2), put_request(enrol.key);
	put_uint(3), put_model();
	put_uint(4), put_uint(class->number);
	put_uint(5), put_uint(opt.code ? 3 : opt.label ? 2 : 1);
	publish("up/enrol", 1);
}

// bind puts what both sides have seen behind a word, and returns how long that is.
static size_t bind_after(uint8_t *b, const char *word) {
	size_t n = strlen(word);
	memcpy(b, word, n);
	memcpy(b + n, enrol.ca, HASH), n += HASH;
	memcpy(b + n, enrol.hash, HASH), n += HASH;
	memcpy(b + n, enrol.open.nonce_d, NONCE), n += NONCE;
	memcpy(b + n, enrol.open.nonce_g, NONCE), n += NONCE;
	return n;
}

static void take_challenge(struct slice nonce) {
	uint8_t b[128], sum[HASH];
	const char *secret = opt.code ? opt.code : opt.label;
	conn.over = conn.challenged; // a second one is not of this contract
	if (conn.over) return;
	conn.challenged = true;
	if (enrol.again && (memcmp(enrol.open.nonce_g, nonce.p, NONCE) != 0 || memcmp(enrol.open.ca, enrol.ca, HASH) != 0)) {
		erase("applying"); // a nonce is revealed to one challenge only
		say("another challenge: begin anew");
		conn.over = true;
		return;
	}
	memcpy(enrol.open.nonce_g, nonce.p, NONCE);
	memcpy(enrol.open.ca, enrol.ca, HASH);
	struct slice file = {(const uint8_t *)&enrol.open, sizeof enrol.open};
	if (opt.keyless && !save("applying", &file, 1)) {
		conn.over = true;
		return;
	}
	filled = 0, overflow = false;
	put_map(2 + (size_t)(secret != NULL));
	put_uint(0), put_uint(2);
	put_uint(1), put_bytes(enrol.open.nonce_d, NONCE);
	if (secret) {
		char plain[NAME];
		int n = 0;
		for (const char *c = secret; *c && n < NAME; c++)
			if (*c != '-' && *c != ' ') plain[n++] = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
		size_t len = bind_after(b, "porchlight-proof-1");
		HMAC(EVP_sha256(), plain, n, b, len, sum, NULL);
		put_uint(2), put_bytes(sum, HASH);
	}
	publish("up/enrol", 1);
	if (!secret) {
		uint64_t head = 0;
		sha256(sum, b, bind_after(b, "porchlight-sas-1"));
		for (int i = 0; i < 8; i++) head = head << 8 | sum[i];
		say("code %06" PRIu64, head % 1000000);
	}
	conn.revealed = steady();
}

static void take_admitted(struct slice part[PARTS], uint64_t clock) {
	uint8_t hash[HASH], der[256];
	X509 *ca = read_cert(part[P_CA]), *own = read_cert(part[P_CERT]);
	bool ok = ca && cert_hash(hash, ca) && memcmp(hash, enrol.ca, HASH) == 0;
	if (part[P_CERT].n) {
		ok = ok && own && enrol.key && X509_check_private_key(own, enrol.key);
		part[P_KEY] = (struct slice){der, enrol.key ? write_key(enrol.key, der, sizeof der) : 0};
	}
	X509_free(ca), X509_free(own);
	conn.answered = conn.over = true;
	if (!ok) {
		erase("applying");
		say("somebody stands between: begin anew");
		return;
	}
	if (!save_who("who", part)) return;
	forget("who"); // of whoever it was before, and what it has applied with
	OPENSSL_cleanse(der, sizeof der);
	EVP_PKEY_free(enrol.key), enrol.key = NULL;
	me.known = true;
	copy(me.id, part[P_ID]), copy(me.name, part[P_NAME]), copy(me.token, part[P_TOKEN]);
	open_book();
	set_clock(clock);
	say("enrolled %s", me.id);
}

static void take_turned_away(uint64_t why) {
	static const char *words[] = {"", "closed", "rejected", "tries", "late", "unproven", "full", "unusable"};
	conn.answered = conn.over = true;
	erase("applying");
	waiting_for_person = why == 2 || why == 5 || why == 7;
	say("turned away: %s", why < sizeof words / sizeof *words ? words[why] : "later reason");
}

// read_cas reads the authorities behind part[P_CA].
static void read_cas(struct reader *r, struct slice part[PARTS]) {
	uint64_t n = expect(r, ARRAY).n;
	if (n < 1 || n > 2) r->bad = true;
	for (uint64_t i = 0; i < n && !r->bad; i++) part[P_CA + i] = blob(r, BYTES, 1, 2048);
}

static void take_enrol(struct reader *r) {
	struct slice part[PARTS] = {0}, nonce = {0};
	uint64_t op = 0, why = 0, clock = 0;
	struct fields f = fields(r);
	while (key(&f)) switch (f.key) {
	case 0: op = number(r); break;
	case 1: // the nonce, the ID, or why
		if (op == 1) nonce = blob(r, BYTES, NONCE, NONCE);
		else if (op == 2) part[P_ID] = blob(r, STRING, 4, ID - 1);
		else if (op == 3) why = number(r);
		else skip(r);
		break;
	case 2:
		if (op == 2) part[P_CERT] = blob(r, BYTES, 1, 2048);
		else skip(r);
		break;
	case 3: part[P_TOKEN] = blob(r, STRING, 1, NAME - 1); break;
	case 4: read_cas(r, part); break;
	case 5: part[P_NAME] = blob(r, STRING, 1, NAME - 1); break;
	case 6: clock = number(r); break;
	default: skip(r);
	}
	if (conn.answered) return;
	if (op == 1 && whole(&f, KEY(1))) take_challenge(nonce);
	else if (op == 2 && conn.revealed && whole(&f, KEY(1) | KEY(4) | KEY(5) | KEY(6)) && !part[P_CERT].n != !part[P_TOKEN].n) take_admitted(part, clock);
	else if (op == 3 && whole(&f, KEY(1))) take_turned_away(why);
	else unreadable("dn/enrol");
}

static void take_key(struct reader *r) {
	struct slice part[PARTS] = {0};
	uint8_t der[256];
	uint64_t op = 0;
	struct fields f = fields(r);
	while (key(&f)) switch (f.key) {
	case 0: op = number(r); break;
	case 1:
		if (op == 2) part[P_CERT] = blob(r, BYTES, 1, 2048);
		else number(r);
		break;
	case 2: part[P_TOKEN] = blob(r, STRING, 1, NAME - 1); break;
	case 3: read_cas(r, part); break;
	default: skip(r);
	}
	if (op == 1 && whole(&f, 0)) return ask_for_key();
	if (op != 2 || !whole(&f, KEY(3)) || !part[P_CERT].n == !part[P_TOKEN].n) return unreadable("dn/key");
	X509 *own = read_cert(part[P_CERT]);
	bool ok = conn.asked && (part[P_CERT].n ? own && young && X509_check_private_key(own, young) : me.token[0] != 0);
	X509_free(own);
	if (!ok) return;
	part[P_ID] = of(me.id), part[P_NAME] = of(me.name);
	if (young) part[P_KEY] = (struct slice){der, write_key(young, der, sizeof der)};
	if (save_who("who.new", part)) {
		say("new key");
		fresh_failed = false;
		conn.over = true; // no bye is needed; what is on the screen stays
	}
	OPENSSL_cleanse(der, sizeof der);
	EVP_PKEY_free(young), young = NULL;
}

// leave begins to end the connection on purpose.
static void leave(int why) {
	if (leaving) return;
	leaving = why;
	leave_by = steady() + 5000;
	if (screen.state != CLEAR && why == OFF) off_as(DECLINED, BUSY);
	if (screen.state == SHOWN) say("screen clear");
	screen.state = CLEAR;
	if (why == WIPED) forget(NULL);
}

static void hang_up(void);

// left carries on with that, and does what comes after it.
static void left(void) {
	static const char *words[] = {"", "off", "reset", "wiped"};
	if (!leaving) return;
	if (conn.m && conn.born && !conn.over && !due(leave_by) && !conn.byed) {
		if (conn.bye >= 0 || (leaving == OFF && book.owing > 0)) return;
		frame(2);
		put_uint(1), put_string(words[leaving]);
		conn.bye = publish("up/bye", 1);
		if (conn.bye >= 0) return;
	}
	if (conn.m && conn.up && !conn.over && mosquitto_disconnect(conn.m) == MOSQ_ERR_SUCCESS) mosquitto_loop_write(conn.m, 1);
	hang_up();
	if (leaving == RESET) forget(NULL);
	say("%s", words[leaving]);
	if (leaving == OFF) exit(0);
	leaving = STAYING;
	next_dial = 0;
}

static void take_cmd(struct reader *r) {
	uint64_t op = 0;
	struct fields f = fields(r);
	while (key(&f)) f.key == 0 ? (void)(op = number(r)) : skip(r);
	if (!whole(&f, KEY(0))) return unreadable("dn/cmd");
	if (op == 1) leave(WIPED);
}

// ---- the connection ------------------------------------------------------------------------------------

// on_message is called by libmosquitto before the PUBACK of a frame leaves: see dial.
static void on_message(struct mosquitto *m, void *arg, const struct mosquitto_message *f) {
	char prefix[64];
	(void)m, (void)arg;
	size_t p = (size_t)snprintf(prefix, sizeof prefix, "pl/1/%s/", conn.id), n = (size_t)f->payloadlen;
	if (strncmp(f->topic, prefix, p) != 0) return;
	const char *leaf = f->topic + p;
	bool cut = n > sizeof in;
	if (cut) n = sizeof in;
	if (n) memcpy(in, f->payload, n);
	struct reader r = {in, in + n, false};
	if (conn.applicant) {
		if (strcmp(leaf, "dn/enrol") == 0 && !cut) take_enrol(&r);
	} else if (leaving == RESET || leaving == WIPED || conn.over) {
		return; // nobody is there any more
	} else if (strcmp(leaf, "dn/msg") == 0) {
		take_msg(in, n, cut);
	} else if (cut) {
		unreadable(leaf);
	} else if (strcmp(leaf, "dn/time") == 0) {
		take_time(&r);
	} else if (strcmp(leaf, "dn/twin") == 0) {
		take_twin(in, n);
	} else if (strcmp(leaf, "dn/err") == 0) {
		take_err(&r);
	} else if (strcmp(leaf, "dn/key") == 0) {
		take_key(&r);
	} else if (strcmp(leaf, "dn/cmd") == 0) {
		take_cmd(&r);
	}
}

static void on_connect(struct mosquitto *m, void *arg, int code) {
	char filter[64];
	(void)arg;
	conn.refused = code;
	if (code) {
		conn.over = true;
		return;
	}
	conn.up = true;
	if (!conn.applicant) {
		refusals = 0;
		if (conn.fresh) { // it is the one in use from now on
			renameat(folder, "who.new", folder, "who");
			fsync(folder);
			conn.fresh = false;
		}
	}
	snprintf(filter, sizeof filter, "pl/1/%s/dn/#", conn.id);
	if (mosquitto_subscribe(m, NULL, filter, 1) != MOSQ_ERR_SUCCESS) conn.over = true;
	else if (!conn.applicant && !conn.ended) birth();
}

static void on_subscribe(struct mosquitto *m, void *arg, int mid, int n, const int *granted) {
	(void)m, (void)arg, (void)mid;
	if (n < 1 || granted[0] > 1) {
		note("the subscription was refused");
		conn.over = true;
	} else if (conn.applicant) {
		apply();
	} else if (conn.ended) {
		ask_for_key();
	}
}

static void on_publish(struct mosquitto *m, void *arg, int mid, int code, const mosquitto_property *props) {
	(void)m, (void)arg, (void)props;
	if (mid == conn.mid) acknowledged(code >= 0x80 ? code : conn.code);
	else if (mid == conn.bye) conn.byed = true;
	else if (code >= 0x80) note("refused with %d", code);
}

static void on_disconnect(struct mosquitto *m, void *arg, int code) {
	(void)m, (void)arg, (void)code;
	conn.over = true;
}

// dial opens a connection. It does not wait for it: leases go on meanwhile. (libmosquitto waits for the
// answer of a name server, though; firmware asks for the address by itself.)
static void dial(void) {
	struct slice part[PARTS] = {0};
	memset(&conn, 0, sizeof conn);
	conn.mid = conn.bye = -1;
	conn.began = steady();
	conn.applicant = !me.known;
	conn.over = true; // until it stands
	if (conn.applicant) {
		if (opt.plain || !prepare()) return;
	} else {
		strcpy(conn.id, me.id);
		conn.fresh = exists("who.new") && !fresh_failed;
		if (conn.fresh || !me.given || exists("who")) {
			if (!load_who(conn.fresh ? "who.new" : "who", part)) return;
			copy(me.token, part[P_TOKEN]);
		} else {
			strcpy(me.token, opt.token);
		}
	}
	conn.m = mosquitto_new(conn.id, true, NULL);
	if (!conn.m) return;
	// libmosquitto queues the PUBACK of a frame before it calls on_message, and writes it at once. Told that
	// there are threads, it leaves writing to mosquitto_loop_write: by then on_message has written down what
	// the acknowledgement promises.
	mosquitto_threaded_set(conn.m, true);
	mosquitto_int_option(conn.m, MOSQ_OPT_PROTOCOL_VERSION, opt.five ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
	if (conn.applicant) mosquitto_username_pw_set(conn.m, "enrol", NULL);
	else if (me.token[0]) mosquitto_username_pw_set(conn.m, me.id, me.token);
	if (!opt.plain) {
		if (!secure(part)) {
			note("TLS cannot be set up: %s", ERR_reason_error_string(ERR_peek_last_error()));
			return;
		}
		mosquitto_int_option(conn.m, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0);
		mosquitto_void_option(conn.m, MOSQ_OPT_SSL_CTX, conn.tls);
	}
	mosquitto_connect_callback_set(conn.m, on_connect);
	mosquitto_subscribe_callback_set(conn.m, on_subscribe);
	mosquitto_message_callback_set(conn.m, on_message);
	mosquitto_publish_v5_callback_set(conn.m, on_publish);
	mosquitto_disconnect_callback_set(conn.m, on_disconnect);
	int rc = mosquitto_connect_async(conn.m, opt.host, opt.port, 60);
	if (rc == MOSQ_ERR_SUCCESS) conn.over = false;
	else note("cannot connect: %s", mosquitto_strerror(rc));
}

// hang_up ends a connection, or an attempt, and says when the next may come.
static void hang_up(void) {
	bool applicant = conn.applicant, fresh = conn.fresh, unverified = conn.unverified;
	int refused = conn.refused;
	int64_t now = steady(), pause;
	uint32_t chance;
	if (conn.m && conn.revealed && !conn.answered && !opt.label && !opt.code) say("code gone");
	if (conn.m) mosquitto_destroy(conn.m);
	if (conn.tls) SSL_CTX_free(conn.tls);
	bool stood = conn.up, admitted = conn.answered && me.known;
	conn.m = NULL;
	conn.tls = NULL;
	conn.up = false;
	for (size_t i = 0; i < book.owing; i++) book.outbox[i].sending = false;
	random_bytes((uint8_t *)&chance, sizeof chance);
	pause = 500ll << (failures < 6 ? failures : 6);
	if (pause > 30000) pause = 30000;
	pause -= (int64_t)chance % (pause / 4); // not all at once, after the power came back to the house
	failures++;
	if (applicant && !admitted && (stood || refused)) {
		if (!applying_since) applying_since = now;
		pause = now - applying_since < 900000 ? 10000 : 60000;
		if (refused) say("nobody lets devices in just now");
		failures = 0;
	}
	if (applicant && hurried) pause = 0;
	hurried = false;
	if (applicant && unverified) say("this is not a gateway to apply to");
	if (admitted || (stood && !applicant && exists("who.new") && !fresh_failed)) pause = 0;
	next_dial = now + pause;
	if (applicant) return;
	bool denied = refused == (opt.five ? 0x87 : 5);
	if (fresh && denied) {
		erase("who.new");
		say("the new key is refused");
	} else if (unverified) {
		fresh_failed = fresh; // the other one is next
	} else if (denied && !me.given) { // nobody could type an ID and a token again
		if (refusals++ == 0) first_refusal = now;
		if (refusals >= 3 && now - first_refusal >= opt.forget) {
			if (screen.state == SHOWN) say("screen clear");
			forget(NULL);
			say("forgotten");
			next_dial = 0;
		}
	}
}

// watch does what is due on a connection.
static void watch(void) {
	if (!conn.m) {
		if (waiting_for_person || leaving || !due(next_dial)) return;
		dial();
	}
	if (!conn.over && !conn.up && due(conn.began + 15000)) conn.over = true;
	if (!conn.over && conn.applicant && due(conn.began + (conn.revealed ? 900000 : 30000))) conn.over = true;
	if (!conn.over && conn.born && !leaving && due(conn.told + class->lifetime / 3)) tell(-1);
	if (!conn.over && conn.born && !conn.beaconed && !conn.asked && !me.given && !me.token[0] && due(conn.born + 10000)) ask_for_key();
	if (!conn.over && conn.asked && !conn.beaconed && due(conn.asked + 30000)) conn.over = true; // its certificate has ended, and the answer is lost
	if (conn.over) hang_up();
}

// ---- a person's hands ----------------------------------------------------------------------------------

static void power_cut(char **argv) {
	for (int f = 3; f < 256; f++) close(f);
	execv("/proc/self/exe", argv);
	exit(1);
}

static void pressed(const char *which, const char *wish, int kind) {
	static const char *wishes[] = {"allowed", "increased", "reduced", "disallowed", "banned"};
	if (screen.state != SHOWN) return note("nothing is on the screen");
	struct event e = happened(screen.p.id, kind, 0);
	if (kind == RESPONDED) {
		uint64_t id = strtoull(which, NULL, 10);
		for (size_t i = 0; i < screen.p.buttons; i++)
			if (screen.p.button[i].id == id) e.pressed = 1, e.button = (uint32_t)id;
		if (!e.pressed) return note("there is no button %s", which);
	}
	for (size_t i = 0; wish && i < 5; i++)
		if (strcmp(wish, wishes[i]) == 0) e.wish = (uint8_t)(i + 1);
	off(e);
}

static void command(char *line, char **argv) {
	char *w[4] = {0};
	for (size_t i = 0; i < 4; i++) w[i] = strtok(i ? NULL : line, " \t\r");
	if (!w[0]) return;
	if (strcmp(w[0], "set") == 0 && w[2]) {
		struct value *v = value_of(of(w[1]));
		if (!v || !set((size_t)(v - values), w[2])) return note("cannot set %s to %s", w[1], w[2]);
		settle(); // the screen is first
		if (conn.m && conn.up && !conn.applicant) tell((int)(v - values));
	} else if (strcmp(w[0], "choose") == 0 && w[3]) {
		struct owed o = {.base = book.twin};
		if (!book.twin || strlen(w[1]) >= sizeof o.choice.brand || strlen(w[2]) >= sizeof o.choice.purpose || strlen(w[3]) >= sizeof o.choice.choice)
			return note("there is no such choice");
		strcpy(o.choice.brand, w[1]), strcpy(o.choice.purpose, w[2]), strcpy(o.choice.choice, w[3]);
		owe(o);
		save_book();
		say("pending %s %s %s", w[1], w[2], w[3]);
	} else if (strcmp(w[0], "press") == 0 && w[1]) {
		pressed(w[1], w[2], RESPONDED);
	} else if (strcmp(w[0], "dismiss") == 0) {
		pressed(NULL, w[1], DISMISSED);
	} else if (strcmp(w[0], "power") == 0) {
		power_cut(argv);
	} else if (strcmp(w[0], "off") == 0) {
		leave(OFF);
	} else if (strcmp(w[0], "reset") == 0) {
		leave(RESET);
	} else if (strcmp(w[0], "apply") == 0) {
		static char code[NAME]; // a code of the home may be typed
		if (w[1] && strlen(w[1]) < sizeof code) strcpy(code, w[1]), opt.code = code;
		waiting_for_person = false;
		applying_since = 0;
		hurried = conn.m != NULL; // once this application is over
		next_dial = me.known ? next_dial : 0;
	} else {
		note("set NAME VALUE, choose BRAND PURPOSE CHOICE, press ID [WISH], dismiss [WISH], power, off, reset, apply [CODE]");
	}
}

// hear reads what was typed; it is false at the end.
static bool hear(char **argv) {
	static char line[256];
	static size_t n;
	char c;
	ssize_t r = read(0, &c, 1);
	if (r == 0 || (r < 0 && errno != EINTR && errno != EAGAIN)) return false;
	if (r < 0) return true;
	if (c != '\n') {
		if (n < sizeof line - 1) line[n++] = c;
		return true;
	}
	line[n] = 0, n = 0;
	command(line, argv);
	return true;
}

// ---- from the switch on ----------------------------------------------------------------------------------

static void sizes(void) {
	say("frame that comes %zu", sizeof in);
	say("frame that goes %zu", sizeof out);
	say("message on the screen %zu", sizeof screen);
	say("ledger %zu", sizeof book.ledger);
	say("outbox %zu", sizeof book.outbox);
	say("fence, clock, versions %zu", sizeof book - sizeof book.ledger - sizeof book.outbox);
	say("context %zu", sizeof values);
	say("identity, application, connection %zu", sizeof me + sizeof enrol + sizeof conn);
	say("together %zu", sizeof in + sizeof out + sizeof screen + sizeof book + sizeof values + sizeof me + sizeof enrol + sizeof conn);
}

static void usage(void) {
	note("device --gateway HOST:PORT [--state FOLDER] [--class fridge|tv|car] [--mqtt5] and one of\n"
	     "  nothing: six digits   --label SECRET   --home-code CODE   each with --token: no key, a token\n"
	     "  --id ID --token-value TOKEN, with --plain, or --ca FILE [--name NAME]\n"
	     "or: device --sizes");
	exit(2);
}

static void options(char **argv) {
	struct { const char *name; char **text; bool *flag; } all[] = {
		{"--gateway", &opt.gateway, 0}, {"--state", &opt.state, 0}, {"--class", &opt.class, 0}, {"--label", &opt.label, 0},
		{"--home-code", &opt.code, 0}, {"--id", &opt.id, 0}, {"--token-value", &opt.token, 0}, {"--ca", &opt.ca, 0},
		{"--name", &opt.name, 0}, {"--plain", 0, &opt.plain}, {"--mqtt5", 0, &opt.five}, {"--token", 0, &opt.keyless},
	};
	size_t n = sizeof all / sizeof *all;
	for (char **a = argv + 1; *a; a++) {
		size_t i = 0;
		if (strcmp(*a, "--sizes") == 0) sizes(), exit(0);
		if (strcmp(*a, "--forget-after") == 0 && a[1]) { // seconds, instead of ten minutes
			opt.forget = atoll(*++a) * 1000;
			continue;
		}
		while (i < n && strcmp(*a, all[i].name) != 0) i++;
		if (i == n || (all[i].text && !a[1])) usage();
		if (all[i].flag) *all[i].flag = true;
		else *all[i].text = *++a;
	}
	char *colon = opt.gateway ? strrchr(opt.gateway, ':') : NULL;
	if (!colon || colon - opt.gateway >= (ptrdiff_t)sizeof opt.host || !opt.id != !opt.token || (opt.plain && !opt.id) ||
	    (opt.id && !opt.plain && !opt.ca) || (opt.id && (strlen(opt.id) >= ID || strlen(opt.token) >= NAME)) ||
	    (opt.name && strlen(opt.name) >= NAME) || (opt.label && strlen(opt.label) >= NAME) || (opt.code && strlen(opt.code) >= NAME))
		usage();
	memcpy(opt.host, opt.gateway, (size_t)(colon - opt.gateway));
	opt.port = atoi(colon + 1);
	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
		if (strcmp(classes[i].name, opt.class) == 0) class = &classes[i];
	if (!class) usage();
}

int main(int argc, char **argv) {
	struct slice part[PARTS];
	(void)argc;
	options(argv);
	signal(SIGPIPE, SIG_IGN);
	mkdir(opt.state, 0700);
	if ((folder = open(opt.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		note("%s: %s", opt.state, strerror(errno));
		return 1;
	}
	char not[ID] = "";
	load("not", not, sizeof not - 1);
	if (opt.id && strcmp(opt.id, not) != 0) {
		me.given = me.known = true;
		strcpy(me.id, opt.id);
		if (opt.name) strcpy(me.name, opt.name);
		if (load_who("who", part) && (part[P_ID].n != strlen(me.id) || memcmp(part[P_ID].p, me.id, part[P_ID].n) != 0)) erase("who"), erase("who.new");
	} else if (load_who("who", part)) {
		me.known = true;
		copy(me.id, part[P_ID]), copy(me.name, part[P_NAME]);
	}
	if (me.known) open_book(), wake_up();
	for (size_t i = 0; i < attributes(); i++) set(i, class->attribute[i].start);
	mosquitto_lib_init();
	for (bool hands = true;;) {
		wake = steady() + 1000;
		watch();
		settle();
		left();
		pump();
		int64_t pause = wake - steady();
		int sock = conn.m ? mosquitto_socket(conn.m) : -1;
		struct pollfd f[2] = {
			{.fd = hands ? 0 : -1, .events = POLLIN},
			{.fd = sock, .events = (short)(POLLIN | (conn.m && mosquitto_want_write(conn.m) ? POLLOUT : 0))},
		};
		if (poll(f, 2, pause > 0 ? (int)pause : 0) < 0 && errno != EINTR) return 1;
		if (conn.m && f[1].revents & (POLLIN | POLLERR | POLLHUP) && mosquitto_loop_read(conn.m, 1) != MOSQ_ERR_SUCCESS) conn.over = true;
		if (conn.m && !conn.over && f[1].revents & POLLOUT && mosquitto_loop_write(conn.m, 1) != MOSQ_ERR_SUCCESS) conn.over = true;
		if (conn.m && !conn.over && mosquitto_loop_misc(conn.m) != MOSQ_ERR_SUCCESS) conn.over = true;
		if (f[0].revents) hands = hear(argv);
	}
}
