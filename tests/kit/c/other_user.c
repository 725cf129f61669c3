/* A publisher that has become another user does not use what it kept as the first. */
#include "inline.h"

int main(void)
{
    size_t count;
    open_channel();
    warm();
    assert(!seteuid(65534));
    assert(pubsub_publish("a", NULL, NULL, 0, 0, &count, NULL) == PUBSUB_BASE_UNUSABLE && !count);
    assert(!seteuid(0));
    close_channel();                    /* there is no record that was not counted */
    return 0;
}
