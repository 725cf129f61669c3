/* driver_operations.c - operations that answer with one line; see driver.h */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- hello ------------------------------------------------------------------------------ */

static void op_hello(void)
{
    double protocol;
    if (!number_of(field("protocol"), &protocol) || protocol != 1) {
        bad_request("this driver speaks protocol 1");
        return;
    }
    begin_reply();
    print(", \"implementation\": \"pubsub-c\", \"version\": \"0.1\", \"language\": \"C11, "
#if defined __clang__
          "clang " __clang_version__
#elif defined __GNUC__
          "gcc " __VERSION__
#else
          "unknown compiler"
#endif
          "\", \"spec\": \"" PUBSUB_SPEC "\", \"roles\": "
          "[\"topics\", \"codec\", \"publisher\", \"subscriber\", \"reaper\""
#ifdef __linux__                    /* elsewhere a publisher cannot see how full a queue is */
          ", \"inline\""
#endif
          "]");
    end_reply();
}

/* ---- topics, codec ---------------------------------------------------------------------- */

static void op_match(void)
{
    char *pattern, *topic;
    bool match;
    struct pubsub_error e;
    if (!text_of(field("pattern"), &pattern) || !text_of(field("topic"), &topic)) {
        bad_request("pattern, topic");
    } else if (pubsub_match(pattern, topic, &match, &e)) {
        reply_error(&e, NULL);
    } else {
        begin_reply();
        print(", \"match\": %s", match ? "true" : "false");
        end_reply();
    }
}

static void op_encode(void)
{
    struct slice m = field("message");
    struct pubsub_message message = {0};
    struct pubsub_error e;
    char *topic, *headers;
    unsigned char *content, *octets;
    size_t size;
    if (!u64_of(member(m, "id"), &message.id) || !message.id ||
        !u64_of(member(m, "timestamp"), &message.timestamp) ||
        !text_of(member(m, "topic"), &topic) || !object_of(member(m, "headers"), &headers) ||
        !octets_of(member(m, "content"), &content, &message.content_size)) {
        bad_request("message");
        return;
    }
    message.topic = topic;
    message.headers = headers;
    message.content = content;
    if (pubsub_encode(&message, &octets, &size, &e)) {
        reply_error(&e, NULL);
        return;
    }
    begin_reply();
    print(", \"bytes\": ");
    print_base64(octets, size);
    end_reply();
    free(octets);
}

static void op_decode(void)
{
    unsigned char *octets;
    size_t size;
    struct pubsub_message *m;
    struct pubsub_error e;
    if (!octets_of(field("bytes"), &octets, &size)) {
        bad_request("bytes");
        return;
    }
    unsigned char *exact = request_memory(size);    /* the sanitizers see the end of this block */
    memcpy(exact, octets, size);
    if (pubsub_decode(exact, size, &m, &e)) {
        reply_error(&e, NULL);
        return;
    }
    begin_reply();
    print(", \"message\": ");
    print_message(m);
    end_reply();
    pubsub_message_free(m);
}

/* ---- publisher -------------------------------------------------------------------------- */

static void op_publish(void)
{
    char *topic, *headers;
    unsigned char *content;
    size_t size, count;
    double ms;
    struct pubsub_error e;
    if (!text_of(field("topic"), &topic) || !octets_of(field("content"), &content, &size) ||
        !object_of(field("headers"), &headers) || !optional_span(field("timeout"), 0, &ms)) {
        bad_request("topic, content, headers, timeout");
    } else if (pubsub_publish(topic, headers, content, size, to_int(ms), &count, &e)) {
        reply_error(&e, &count);
    } else {
        begin_reply();
        print(", \"count\": %zu", count);
        end_reply();
    }
}

/* ---- subscriber, reaper ----------------------------------------------------------------- */

static struct pubsub_channel **channels;    /* NULL where one was closed */
static size_t n_channels;

struct pubsub_channel **requested_channel(void)
{
    char *handle, *rest;
    if (!text_of(field("channel"), &handle)) {
        bad_request("channel");
        return NULL;
    }
    if (*handle == 'c' && handle[1] >= '1' && handle[1] <= '9') {
        unsigned long i = strtoul(handle + 1, &rest, 10);
        if (!*rest && i <= n_channels && channels[i - 1])
            return &channels[i - 1];
    }
    reply_refusal("channel-closed", "no such channel is open");
    return NULL;
}

void free_channels(void)
{
    for (size_t i = 0; i < n_channels; i++)
        pubsub_channel_free(channels[i]);
    free(channels);
}

static void op_open(void)
{
    char *pattern;
    struct pubsub_channel *channel;
    struct pubsub_error e;
    bool is_inline;
    if (!text_of(field("pattern"), &pattern) || !optional_bool(field("inline"), &is_inline)) {
        bad_request("pattern, inline");
    } else if (pubsub_open_with(pattern, is_inline ? PUBSUB_INLINE : 0, &channel, &e)) {
        reply_error(&e, NULL);
    } else {
        channels = need(realloc(channels, (n_channels + 1) * sizeof *channels));
        channels[n_channels++] = channel;
        begin_reply();
        print(", \"channel\": \"c%zu\", \"directory\": \"%s\"", n_channels, pubsub_channel_name(channel));
        end_reply();
    }
}

static void op_fetch(void)
{
    struct pubsub_channel **channel = requested_channel();
    struct pubsub_message *m;
    struct pubsub_error e;
    if (!channel)
        return;
    if (pubsub_fetch(*channel, &m, &e)) {
        reply_error(&e, NULL);
        return;
    }
    begin_reply();
    print(", \"message\": ");
    if (m)
        print_message(m);
    else
        print("null");
    end_reply();
    pubsub_message_free(m);
}

static void op_wait(void)
{
    double ms;
    bool ready;
    struct pubsub_error e;
    if (!span_of(field("timeout"), &ms)) {
        bad_request("timeout");
        return;
    }
    struct pubsub_channel **channel = requested_channel();
    if (!channel)
        return;
    if (pubsub_wait(*channel, to_int(ms), &ready, &e)) {
        reply_error(&e, NULL);
        return;
    }
    begin_reply();
    print(", \"ready\": %s", ready ? "true" : "false");
    end_reply();
}

static void op_close(void)
{
    struct pubsub_channel **channel = requested_channel();
    struct pubsub_error e;
    if (!channel)
        return;
    if (pubsub_close(*channel, &e)) {
        reply_error(&e, NULL);
    } else {
        begin_reply();
        end_reply();
    }
    pubsub_channel_free(*channel);
    *channel = NULL;
}

static void op_reap(void)
{
    double ms;
    struct pubsub_error e;
    if (!optional_span(field("stale_age"), PUBSUB_STALE_MS, &ms)) {
        bad_request("stale_age");
        return;
    }
    long long stale_ms = ms > 1e15 ? 1000000000000000LL : (long long)ms;
    enum pubsub_code code = pubsub_reap(stale_ms, &e);
    for (size_t i = 0; i < n_channels && !code; i++)
        if (channels[i])
            code = pubsub_sweep(channels[i], stale_ms, &e);
    if (code) {
        reply_error(&e, NULL);
    } else {
        begin_reply();
        end_reply();
    }
}

operation *find_operation(const char *name)
{
    static const struct { const char *name; operation *run; } operations[] = {
        {"hello", op_hello}, {"match", op_match}, {"encode", op_encode}, {"decode", op_decode},
        {"publish", op_publish}, {"produce", op_produce}, {"open", op_open}, {"fetch", op_fetch},
        {"wait", op_wait}, {"consume", op_consume}, {"close", op_close}, {"reap", op_reap},
    };
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (!strcmp(name, operations[i].name))
            return operations[i].run;
    return NULL;
}
