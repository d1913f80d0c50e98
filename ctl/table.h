/*
 * ctl/table.h - rows of an answer as columns that line up.
 */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <json-c/json.h>
#include <stddef.h>

enum { TABLE_COLUMNS_MAX = 12, TABLE_CELL_BYTES = 320 };

struct table_column {
	const char *head;
	/* What row says in this column, to text of TABLE_CELL_BYTES. */
	void (*cell)(struct json_object *row, char *text);
	const char *name; /* without cell: the row's member with this name   */
};

/*
 * Print the head and a line for each element of rows, an array. A missing
 * member or null is "-"; control bytes are shown as '?'.
 */
void table_print(const struct table_column *columns, int count,
		 struct json_object *rows);

/* The text of row's member name, or "". Valid as long as row. */
const char *table_text(struct json_object *row, const char *name);

#endif
