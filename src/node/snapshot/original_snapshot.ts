/**
 * The one object that the original v0.6 keeps: the plain database file. Its bytes and headers: tests/golden/snapshot_v06.
 * It does not tell how far the streams were applied.
 */

/** Its name; a compatibility constant. */
export const ORIGINAL_NAME = "snapshot.db";
/** Holds the FNV-1 hash of the file, 64 bits in hex; a compatibility constant. */
export const ORIGINAL_TAG_HEADER = "marmot-snapshot-tag";
/** Why a node that has a database cannot go on from it. */
export const NO_PLACES = "it is the original's, which does not tell where it stands in the streams";
