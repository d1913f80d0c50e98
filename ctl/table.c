/*
 * ctl/table.c - see table.h.
 */
#include "ctl/table.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

const char *table_text(struct json_object *row, const char *name)
{
	struct json_object *v;

	if (!json_object_object_get_ex(row, name, &v) || !v)
		return "";
	return json_object_get_string(v);
}

static void fill(const struct table_column *c, struct json_object *row,
		 char *text)
{
	text[0] = 0;
	if (c->cell)
		c->cell(row, text);
	else
		snprintf(text, TABLE_CELL_BYTES, "%s",
			 table_text(row, c->name));
	for (char *p = text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	if (!text[0])
		memcpy(text, "-", 2);
}

static void print_cell(const char *text, int width, bool last)
{
	if (last)
		printf("%s\n", text);
	else
		printf("%-*s  ", width, text);
}

void table_print(const struct table_column *columns, int count,
		 struct json_object *rows)
{
	size_t n = json_object_array_length(rows);
	int width[TABLE_COLUMNS_MAX];
	char text[TABLE_CELL_BYTES];

	CHECK(count <= TABLE_COLUMNS_MAX);
	for (int k = 0; k < count; k++) {
		width[k] = (int)strlen(columns[k].head);
		for (size_t i = 0; i < n; i++) {
			fill(&columns[k], json_object_array_get_idx(rows, i),
			     text);
			if ((int)strlen(text) > width[k])
				width[k] = (int)strlen(text);
		}
	}
	for (int k = 0; k < count; k++)
		print_cell(columns[k].head, width[k], k + 1 == count);
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < count; k++) {
			fill(&columns[k], json_object_array_get_idx(rows, i),
			     text);
			print_cell(text, width[k], k + 1 == count);
		}
	}
}
