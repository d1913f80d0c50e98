/*
 * ctl/members.h - the table of members, which two verbs print.
 */
#ifndef CTL_MEMBERS_H
#define CTL_MEMBERS_H

#include <json-c/json.h>

/* Print members, the array of GET /_/members and of /_/status. */
void members_print(struct json_object *members);

#endif
