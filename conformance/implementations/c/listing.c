/* listing.c - lists the channels of the base, and finds those for a topic */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct ps_target target(const char *name, const char *pattern)
{
    struct ps_target t = {.name = name, .pattern = pattern, .fd = -1};
    ps_record_key(name, t.key);
    return t;
}

int ps_list(const struct ps_base *b, struct ps_listing **made)
{
    char pattern[PUBSUB_TOPIC_MAX + 1];
    const char *name;
    long long pid;
    size_t count = 0;
    DIR *dir = ps_open_dir(b->fd, ".");
    struct ps_listing *list = dir ? calloc(1, sizeof *list) : NULL;
    int err = dir && list ? 0 : errno;
    if (!err) {
        while ((name = ps_next_name(dir)))
            if (ps_parse_channel(name, pattern, &pid)) {
                if (ps_add_name(&list->names, name) || ps_add_name(&list->names, pattern))
                    break;
                count++;
            }
        err = errno;
    }
    if (!err && count && !(list->targets = calloc(count, sizeof *list->targets)))
        err = ENOMEM;
    if (dir)
        closedir(dir);
    if (err) {
        ps_listing_free(list);
        return err;
    }
    list->user = geteuid();
    for (name = NULL; list->count < count;) {
        name = ps_name_after(&list->names, name);
        const char *behind = ps_name_after(&list->names, name);
        list->targets[list->count++] = target(name, behind);
        name = behind;
    }
    *made = list;
    return 0;
}

static size_t place_of(const char *topic)
{
    size_t hash = 5381;
    for (; *topic; topic++)
        hash = hash * 33 + (unsigned char)*topic;
    return hash % PS_TOPICS;
}

const struct ps_topic *ps_matching(struct ps_listing *list, const char *topic)
{
    struct ps_topic **found = &list->topics[place_of(topic)];
    if (*found && !strcmp((*found)->text, topic))
        return *found;
    struct ps_topic *t = malloc(sizeof *t + list->count * sizeof *t->targets);
    if (!t)
        return NULL;
    strcpy(t->text, topic);
    t->count = 0;
    for (size_t i = 0; i < list->count; i++)
        if (ps_matches(list->targets[i].pattern, topic))
            t->targets[t->count++] = &list->targets[i];
    struct ps_topic *fits = realloc(t, sizeof *t + t->count * sizeof *t->targets);
    free(*found);
    return *found = fits ? fits : t;
}
