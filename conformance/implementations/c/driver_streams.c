/* driver_streams.c - produce and consume, which answer with many lines; see driver.h
 *
 * Between two messages there is nothing but their lines: DRIVER-12.
 */
#include "driver.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PREFIX_MAX = 200, MARK_MAX = PREFIX_MAX + 24 };      /* of a message: "<prefix>:<n>:" */

static int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- produce ---------------------------------------------------------------------------- */

struct production {
    char *topic, *prefix, *content;
    double count, rate, ms;         /* rate 0: as fast as it goes; ms: the timeout of each */
    double *sizes;
    size_t n_sizes;
    bool all;
};

/* The list of sizes, and room for the largest content. */
static bool read_sizes(struct slice list, struct production *p)
{
    struct slice element = {NULL, 0};
    double biggest = 0;
    if (!list.n || *list.p != '[')
        return false;
    p->sizes = request_memory(list.n * sizeof *p->sizes / 2);   /* each with a comma or bracket */
    p->n_sizes = 0;
    while (next_element(list, &element)) {
        double size;
        if (!integer_of(element, &size) || size > UINT32_MAX)
            return false;
        p->sizes[p->n_sizes++] = size;
        biggest = size > biggest ? size : biggest;
    }
    p->content = request_memory((size_t)biggest + MARK_MAX);
    return p->n_sizes;
}

static bool read_production(struct production *p)
{
    struct slice rate = field("rate");
    p->rate = 0;
    return text_of(field("topic"), &p->topic) && text_of(field("prefix"), &p->prefix) &&
           strlen(p->prefix) <= PREFIX_MAX &&
           !p->prefix[strspn(p->prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                        "0123456789-")] &&
           integer_of(field("count"), &p->count) && read_sizes(field("sizes"), p) &&
           (!rate.n || (number_of(rate, &p->rate) && p->rate > 0)) &&
           optional_span(field("timeout"), 0, &p->ms) && report_of(field("report"), &p->all);
}

/* Writes the content of message n, and returns its length. */
static size_t write_content(const struct production *p, uint64_t n)
{
    size_t once = (size_t)snprintf(p->content, MARK_MAX, "%s:%" PRIu64 ":", p->prefix, n);
    size_t length = (size_t)p->sizes[n % p->n_sizes];
    for (size_t i = once; i < length; i++)
        p->content[i] = p->content[i - once];
    return length > once ? length : once;
}

/* Waits until message n may be published. */
static void keep_rate(const struct production *p, uint64_t n, int64_t first)
{
    while (p->rate > 0 && n && !stopped) {
        double left = (double)n / p->rate * 1e9 - (double)(clock_ns() - first);
        if (left <= 0)
            break;
        wait_fd(-1, 0, to_int(left / 1e6));
    }
}

void op_produce(void)
{
    struct production p;
    if (!read_production(&p)) {
        bad_request("topic, prefix, count, sizes, rate, timeout, report");
        return;
    }
    int64_t first = 0, last = 0;
    uint64_t messages = 0, total = 0;
    for (uint64_t n = 0; n < (uint64_t)p.count && !stopped; n++) {
        char headers[PREFIX_MAX + 100];
        struct pubsub_error e;
        size_t length = write_content(&p, n), took;
        snprintf(headers, sizeof headers, "{\"publisher\": \"%s\", \"n\": %" PRIu64 "}", p.prefix, n);
        keep_rate(&p, n, first);
        int64_t start = clock_ns();
        enum pubsub_code code =
            pubsub_publish(p.topic, headers, p.content, length, to_int(p.ms), &took, &e);
        last = clock_ns();
        if (n == 0)
            first = start;
        if (code == PUBSUB_INVALID_TOPIC || code == PUBSUB_INVALID_HEADERS ||
            code == PUBSUB_TOO_LARGE) {
            reply_error(&e, NULL);
            return;
        }
        if (!code) {
            messages++;
            total += took;
        }
        if (p.all) {
            begin_reply();
            print(", \"event\": {\"n\": %" PRIu64 ", ", n);
            print_times(start, last);
            if (code)
                print_error(&e, &took);
            else
                print(", \"count\": %zu", took);
            print("}");
            end_reply();
        }
    }
    if (!first)
        first = last = clock_ns();
    begin_reply();
    print(", \"done\": {\"messages\": %" PRIu64 ", \"count\": %" PRIu64 ", ", messages, total);
    print_times(first, last);
    print("}");
    end_reply();
}

/* ---- consume ---------------------------------------------------------------------------- */

static unsigned long crc32(const unsigned char *p, size_t n)
{
    static unsigned long table[256];
    unsigned long crc = 0xffffffff;
    for (unsigned i = 0; !table[255] && i < 256; i++) {
        unsigned long c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320 ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    while (n--)
        crc = table[(crc ^ *p++) & 255] ^ crc >> 8;
    return crc ^ 0xffffffff;
}

static void report_fetched(const struct pubsub_message *m, const struct pubsub_error *e,
                           int64_t start, int64_t end)
{
    begin_reply();
    print(", \"event\": {");
    print_times(start, end);
    if (m) {
        print(", \"topic\": \"%s\", \"headers\": ", m->topic);
        print_headers(m);
        print(", \"size\": %zu, \"crc\": %lu", m->content_size, crc32(m->content, m->content_size));
    } else {
        print_error(e, NULL);
    }
    print("}");
    end_reply();
}

void op_consume(void)
{
    double count = HUGE_VAL, idle, deadline;
    bool all, ready;
    struct slice limit = field("count");
    if ((limit.n && !integer_of(limit, &count)) || !optional_span(field("idle"), HUGE_VAL, &idle) ||
        !optional_span(field("deadline"), HUGE_VAL, &deadline) || !report_of(field("report"), &all)) {
        bad_request("count, idle, deadline, report");
        return;
    }
    struct pubsub_channel **channel = requested_channel();
    if (!channel)
        return;
    int64_t began = clock_ns(), last = began;
    uint64_t messages = 0;
    while ((double)messages < count && (double)(clock_ns() - began) < deadline * 1e6 && !stopped) {
        struct pubsub_message *m;
        struct pubsub_error e;
        int64_t start = clock_ns();
        enum pubsub_code code = pubsub_fetch(*channel, &m, &e);
        int64_t end = clock_ns();
        if (!code && !m) {
            double a = idle - (double)(end - last) / 1e6, b = deadline - (double)(end - began) / 1e6;
            if (a <= 0 || b <= 0)
                break;
            code = pubsub_wait(*channel, to_int(a < b ? a : b), &ready, &e);
            if (!code)
                continue;
        }
        if (code && code != PUBSUB_INVALID_MESSAGE && code != PUBSUB_DAMAGED_QUEUE) {
            reply_error(&e, NULL);
            return;
        }
        if (m) {
            messages++;
            last = end;
        }
        if (all)
            report_fetched(m, &e, start, end);
        pubsub_message_free(m);
    }
    begin_reply();
    print(", \"done\": {\"messages\": %" PRIu64 ", ", messages);
    print_times(began, clock_ns());
    print("}");
    end_reply();
}
