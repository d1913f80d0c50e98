/*
 * store/backup_format.h - numbers of the backup stream that store/backup.c
 * draws, for who writes and who reads it.
 */
#ifndef STORE_BACKUP_FORMAT_H
#define STORE_BACKUP_FORMAT_H

enum {
	BACKUP_MAGIC = 0x4b424352, /* "RCBK" */
	BACKUP_FORMAT_VERSION = 1,
	BACKUP_HEAD_BYTES = 48,
	BACKUP_PART_BYTES = 16,
	BACKUP_BLOCK_BYTES = 32 << 10,
	BACKUP_BLOCK_HEAD_BYTES = 8,
	BACKUP_COUNT_BYTES = 8,
};

#endif
