/* A disk that can lose what was not synced, be full, and fail: preloaded into the gateway, it stands between
 * SQLite and libc, for the files whose names begin with PORCHLIGHT_DISK_FILES, but for shared memory and locks.
 *
 * What SQLite writes goes to the real file at once, so that the gateway reads what it wrote, as from a page
 * cache. A second copy of each file, in the folder PORCHLIGHT_DISK_COPY, gets a write only when the file is
 * synced (and an unlink only when its folder is): after SIGKILL that copy is what a disk would have after a
 * power cut. Some writes may reach it earlier, and so in another order, as the kernel's write-back does.
 * The file PORCHLIGHT_DISK_CONTROL, mapped, says what goes wrong just now.
 *
 * Not seen: what Go itself writes (the authority's key, the lock file), and reads through memory maps. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct control { /* the same in disk.go */
	_Atomic uint32_t full;     /* 1: no file can grow; 2: nothing can be written */
	_Atomic uint32_t bad_sync; /* of 1000 syncs, so many fail, and what they were to save is lost */
	_Atomic uint32_t bad_write;
	_Atomic uint32_t bad_read;
	_Atomic uint32_t early; /* of 1000 writes, so many reach the disk before they are synced */
	_Atomic uint32_t seed;
	_Atomic uint64_t writes, syncs, refused, failed, lost; /* counts: lost are writes that a failed sync dropped */
};

enum { most_files = 64, most_fds = 65536 };

struct change {
	struct change *next;
	off_t at;
	ssize_t bytes; /* -1: the file is cut to at */
	char data[];
};

struct file {
	char path[512], copy[512];
	int fd; /* of the copy; -1: not open */
	int gone; /* unlinked, and the folder not synced since */
	struct change *first, **last;
};

static struct file files[most_files];
static int count;
static unsigned char of[most_fds]; /* number of the file that an fd is, plus one; 255: the folder */
static char prefix[400], folder[400], copies[400];
static struct control none, *ctl = &none;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int), (*real_fsync)(int), (*real_unlink)(const char *), (*real_ftruncate)(int, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t), (*real_pread)(int, void *, size_t, off_t);

__attribute__((constructor)) static void begin(void) {
	real_open = dlsym(RTLD_NEXT, "open64");
	real_close = dlsym(RTLD_NEXT, "close");
	real_fsync = dlsym(RTLD_NEXT, "fsync");
	real_unlink = dlsym(RTLD_NEXT, "unlink");
	real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
	real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
	real_pread = dlsym(RTLD_NEXT, "pread64");
	const char *p = getenv("PORCHLIGHT_DISK_FILES"), *c = getenv("PORCHLIGHT_DISK_COPY"), *k = getenv("PORCHLIGHT_DISK_CONTROL");
	if (!p || !c || !k)
		return;
	snprintf(prefix, sizeof prefix, "%s", p);
	snprintf(folder, sizeof folder, "%s", p);
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = 0;
	snprintf(copies, sizeof copies, "%s", c);
	int fd = real_open(k, O_RDWR | O_CLOEXEC);
	void *m = fd < 0 ? MAP_FAILED : mmap(0, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED) {
		fprintf(stderr, "disk shim: no control file\n");
		_exit(3);
	}
	ctl = m;
	real_close(fd);
}

static int chance(_Atomic uint32_t *per_mille) {
	uint32_t p = atomic_load(per_mille);
	if (!p)
		return 0;
	uint32_t x = atomic_fetch_add(&ctl->seed, 0x9e3779b9u);
	x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
	return x % 1000 < p;
}

/* All below is called with the lock held. */

static struct file *named(const char *path, int make) {
	size_t n = strlen(prefix), m = strlen(path);
	if (!n || strncmp(path, prefix, n) || (m > 4 && !strcmp(path + m - 4, "-shm")) || (m > 5 && !strcmp(path + m - 5, ".lock")))
		return 0;
	for (int i = 0; i < count; i++)
		if (!strcmp(files[i].path, path))
			return &files[i];
	if (!make || count == most_files)
		return 0;
	struct file *f = &files[count++];
	snprintf(f->path, sizeof f->path, "%s", path);
	snprintf(f->copy, sizeof f->copy, "%s%s", copies, strrchr(path, '/'));
	f->fd = -1;
	f->last = &f->first;
	return f;
}

static void drop(struct file *f) {
	for (struct change *c; (c = f->first);) {
		f->first = c->next;
		free(c);
		atomic_fetch_add(&ctl->lost, 1);
	}
	f->last = &f->first;
}

static int copy_of(struct file *f) {
	if (f->fd < 0)
		f->fd = real_open(f->copy, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return f->fd;
}

static void apply(struct file *f, struct change *c) {
	if (copy_of(f) < 0)
		return;
	if (c->bytes < 0) {
		if (real_ftruncate(f->fd, c->at))
			abort();
	} else if (real_pwrite(f->fd, c->data, c->bytes, c->at) != c->bytes) {
		static const char why[] = "disk shim: the copy cannot be written\n";
		if (write(2, why, sizeof why - 1)) {}
		abort();
	}
}

static void save(struct file *f) {
	copy_of(f);
	for (struct change *c; (c = f->first);) {
		f->first = c->next;
		apply(f, c);
		free(c);
	}
	f->last = &f->first;
}

static void note(struct file *f, off_t at, const void *data, ssize_t bytes) {
	struct change *c = malloc(sizeof *c + (bytes > 0 ? bytes : 0));
	if (!c)
		abort();
	c->next = 0, c->at = at, c->bytes = bytes;
	if (bytes > 0)
		memcpy(c->data, data, bytes);
	*f->last = c, f->last = &c->next;
	if (bytes > 0 && chance(&ctl->early))
		apply(f, c); /* and once more at the sync, which does no harm */
}

static struct file *held(int fd) {
	return fd >= 0 && fd < most_fds && of[fd] && of[fd] != 255 ? &files[of[fd] - 1] : 0;
}

int open64(const char *path, int flags, ...) {
	mode_t mode = 0;
	if (flags & O_CREAT) {
		va_list more;
		va_start(more, flags);
		mode = va_arg(more, mode_t);
		va_end(more);
	}
	int fd = real_open(path, flags, mode);
	if (fd < 0 || fd >= most_fds || !*prefix)
		return fd;
	pthread_mutex_lock(&lock);
	struct file *f = named(path, 1);
	of[fd] = f ? f - files + 1 : !strcmp(path, folder) ? 255 : 0;
	if (f && f->gone) { /* made anew before the folder was synced: the disk may still have the old one, and gets the new content over it */
		f->gone = 0;
		note(f, 0, 0, -1);
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

int close(int fd) {
	if (fd >= 0 && fd < most_fds)
		of[fd] = 0;
	return real_close(fd);
}

ssize_t pread64(int fd, void *data, size_t bytes, off_t at) {
	if (held(fd) && chance(&ctl->bad_read)) {
		atomic_fetch_add(&ctl->failed, 1);
		errno = EIO;
		return -1;
	}
	return real_pread(fd, data, bytes, at);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at) {
	if (!held(fd))
		return real_pwrite(fd, data, bytes, at);
	uint32_t full = atomic_load(&ctl->full);
	struct stat st;
	if (full == 2 || (full == 1 && !fstat(fd, &st) && at + (off_t)bytes > st.st_size)) {
		atomic_fetch_add(&ctl->refused, 1);
		errno = ENOSPC;
		return -1;
	}
	if (chance(&ctl->bad_write)) {
		atomic_fetch_add(&ctl->failed, 1);
		errno = EIO;
		return -1;
	}
	pthread_mutex_lock(&lock);
	ssize_t n = real_pwrite(fd, data, bytes, at);
	if (n > 0)
		note(held(fd), at, data, n);
	pthread_mutex_unlock(&lock);
	atomic_fetch_add(&ctl->writes, 1);
	return n;
}

int ftruncate64(int fd, off_t size) {
	if (!held(fd))
		return real_ftruncate(fd, size);
	pthread_mutex_lock(&lock);
	int r = real_ftruncate(fd, size);
	if (!r)
		note(held(fd), size, 0, -1);
	pthread_mutex_unlock(&lock);
	return r;
}

int fsync(int fd) {
	struct file *f = held(fd);
	int dir = fd >= 0 && fd < most_fds && of[fd] == 255;
	if (!f && !dir)
		return real_fsync(fd);
	atomic_fetch_add(&ctl->syncs, 1);
	if (chance(&ctl->bad_sync)) {
		/* As Linux does: what could not be written counts as clean from now on, and the next sync says nothing of it. */
		atomic_fetch_add(&ctl->failed, 1);
		pthread_mutex_lock(&lock);
		if (f)
			drop(f);
		pthread_mutex_unlock(&lock);
		errno = EIO;
		return -1;
	}
	int r = real_fsync(fd);
	pthread_mutex_lock(&lock);
	if (f)
		save(f);
	else
		for (int i = 0; i < count; i++)
			if (files[i].gone) {
				real_unlink(files[i].copy);
				files[i].gone = 0;
			}
	pthread_mutex_unlock(&lock);
	return r;
}

int fdatasync(int fd) { return fsync(fd); }

int unlink(const char *path) {
	int r = real_unlink(path);
	if (r || !*prefix)
		return r;
	pthread_mutex_lock(&lock);
	struct file *f = named(path, 0);
	if (f) {
		drop(f);
		if (f->fd >= 0)
			real_close(f->fd);
		f->fd = -1;
		f->gone = 1;
	}
	pthread_mutex_unlock(&lock);
	return r;
}
