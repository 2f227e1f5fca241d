/* The ClientHello parser under AddressSanitizer: mutations of the hellos in the files named on the
 * command line, as many as the first argument says. Ends at the first fault.
 *
 * Each input stands in memory of exactly its size, so that one byte read too many is seen, and what
 * was there before in the result is garbage, so that nothing left over passes for an answer. */

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compat.h"
#include "client_hello.c"

#define MOST 70000 /* bytes of an input */
#define SEEDS 64

static unsigned char seeds[SEEDS][MOST], input[2 * MOST];
static size_t sizes[SEEDS];
static uint64_t state = 0x9e3779b97f4a7c15u;

/* xorshift64*: the same inputs in every run. */
static size_t below(size_t limit)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return limit ? (size_t)((state * 0x2545f4914f6cdd1du) >> 16) % limit : 0;
}

static size_t mutate(size_t size, int count)
{
	static const unsigned char corners[] = { 0, 1, 0x7f, 0x80, 0xff, 35, 41 };
	size_t at = below(size), from, length = 1 + below(64);
	int other = (int)below((size_t)count);

	switch (below(7)) {
	case 0: /* a bit */
		if (size)
			input[at] ^= (unsigned char)(1 << below(8));
		return size;
	case 1: /* a byte that is likely to matter */
		if (size)
			input[at] = corners[below(sizeof(corners))];
		return size;
	case 2: /* a length, off by a little */
		if (at + 1 < size) {
			unsigned int value = (input[at] << 8 | input[at + 1]) + (unsigned)below(9) - 4;

			input[at] = (unsigned char)(value >> 8);
			input[at + 1] = (unsigned char)value;
		}
		return size;
	case 3: /* cut off */
		return at;
	case 4: /* cut out */
		if (at + length > size)
			return size;
		memmove(input + at, input + at + length, size - at - length);
		return size - length;
	case 5: /* put in */
		if (size + length > MOST)
			return size;
		memmove(input + at + length, input + at, size - at);
		for (size_t i = 0; i < length; i++)
			input[at + i] = (unsigned char)below(256);
		return size + length;
	default: /* a piece of another */
		from = below(sizes[other]);
		if (from + length <= sizes[other] && at + length <= size)
			memcpy(input + at, seeds[other] + from, length);
		return size;
	}
}

static void parse(size_t size, long counts[3])
{
	unsigned char *exact = malloc(size ? size : 1);
	gr_client_hello hello;

	assert(exact);
	memcpy(exact, input, size);
	memset(&hello, 0x5a, sizeof(hello));
	gr_parse_client_hello(exact, size, &hello);
	assert(hello.seen == 1 && hello.offers_ticket <= 1 && hello.offers_psk <= 1);
	assert(strnlen(hello.name, sizeof(hello.name)) == hello.name_size);
	counts[0] += hello.name_size > 0;
	counts[1] += hello.offers_ticket;
	counts[2] += hello.offers_psk;
	free(exact);
}

int main(int argc, char **argv)
{
	int count = argc - 2;
	long counts[3] = { 0, 0, 0 };

	assert(0 < count && count <= SEEDS);
	for (int i = 0; i < count; i++) {
		FILE *file = fopen(argv[i + 2], "rb");

		assert(file);
		sizes[i] = fread(seeds[i], 1, MOST, file);
		fclose(file);
	}
	for (long left = atol(argv[1]); left; left--) {
		int seed = (int)below((size_t)count);
		size_t size = sizes[seed];

		memcpy(input, seeds[seed], size);
		for (size_t rounds = below(6); rounds; rounds--)
			size = mutate(size, count);
		parse(size, counts);
	}
	printf("%ld %ld %ld\n", counts[0], counts[1], counts[2]);
	return 0;
}
