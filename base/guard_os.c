/*
 * base/guard_os.c - a bad page under a mapping becomes an error.
 *
 * Before a guarded read the thread notes, in a frame on its stack, the range
 * it is about to read and where to go if that fails. The SIGBUS handler runs
 * on the faulting thread: if the faulting address lies in the innermost
 * frame's range it jumps there, else the signal is somebody else's and the
 * process dies of it as it would have without us.
 *
 * The cost of the good path is sigsetjmp without the signal mask (a dozen
 * stores). The handler itself puts back the mask that the fault interrupted,
 * so only the bad path pays for that. Frames nest.
 */
#include "base/guard.h"

#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <ucontext.h>

#include "base/check.h"
#include "base/crc32c.h"

/* A fault is reported somewhere in the page, perhaps at its start. */
enum { PAGE_BYTES = 4096 };

struct guard_frame {
	sigjmp_buf back;
	uintptr_t from, to;
	struct guard_frame *outer;
};

static _Thread_local struct guard_frame *volatile innermost;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	struct guard_frame *frame = innermost;
	uintptr_t at = (uintptr_t)info->si_addr;
	bool fault = info->si_code > 0; /* not sent by kill(2) */
	const ucontext_t *interrupted = context;

	if (fault && frame && at >= frame->from && at < frame->to) {
		innermost = frame->outer;
		pthread_sigmask(SIG_SETMASK, &interrupted->uc_sigmask, NULL);
		siglongjmp(frame->back, 1);
	}
	/* Not ours: a fault happens again on return, a sent signal does not. */
	signal(SIGBUS, SIG_DFL);
	if (!fault)
		raise(SIGBUS); /* is delivered when this handler returns */
}

void guard_install(void)
{
	struct sigaction act;

	memset(&act, 0, sizeof(act));
	act.sa_sigaction = on_sigbus;
	act.sa_flags = SA_SIGINFO;
	sigemptyset(&act.sa_mask);
	CHECK(sigaction(SIGBUS, &act, NULL) == 0);
}

/* Enter frame around reads of src[0..n-1]; the caller then calls sigsetjmp. */
static inline void note_range(struct guard_frame *frame, const void *src,
			      size_t n)
{
	frame->from = (uintptr_t)src & ~(uintptr_t)(PAGE_BYTES - 1);
	frame->to = (uintptr_t)src + n;
	frame->outer = innermost;
}

static inline void enter(struct guard_frame *frame)
{
	innermost = frame;
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void leave(struct guard_frame *frame)
{
	atomic_signal_fence(memory_order_seq_cst);
	innermost = frame->outer;
}

enum err guard_copy(void *dst, const void *src, size_t n)
{
	struct guard_frame frame;

	note_range(&frame, src, n);
	if (sigsetjmp(frame.back, 0))
		return ERR_CORRUPT;
	enter(&frame);
	memcpy(dst, src, n);
	leave(&frame);
	return OK;
}

enum err guard_crc32c(uint32_t crc, const void *src, size_t n, uint32_t *out)
{
	struct guard_frame frame;
	uint32_t sum;

	note_range(&frame, src, n);
	if (sigsetjmp(frame.back, 0))
		return ERR_CORRUPT;
	enter(&frame);
	sum = crc32c(crc, src, n);
	leave(&frame);
	*out = sum;
	return OK;
}

enum err guard_crc32c_copy(uint32_t crc, void *dst, const void *src, size_t n,
			   uint32_t *out)
{
	struct guard_frame frame;
	uint32_t sum;

	note_range(&frame, src, n);
	if (sigsetjmp(frame.back, 0))
		return ERR_CORRUPT;
	enter(&frame);
	sum = crc32c_copy(crc, dst, src, n);
	leave(&frame);
	*out = sum;
	return OK;
}
