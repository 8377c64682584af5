/** Schema version of the database, stored in `PRAGMA user_version`; raise it whenever `placesSql` changes. */
export const schemaVersion = 1

/**
 * Tables that are derived from the source: dropped and filled in one transaction by `load.ts`.
 *
 * `rank` is a city's place by population, 1 is the largest. It is the row ID of all three tables, so that a full-text match read
 * in row order is already sorted by population and stops after `limit` rows.
 */
export const placesSql = `
  DROP TABLE IF EXISTS city_names;
  DROP TABLE IF EXISTS city_places;
  DROP TABLE IF EXISTS cities;

  CREATE TABLE cities (
    rank       INTEGER PRIMARY KEY,
    id         INTEGER NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    country    TEXT    NOT NULL,
    admin      TEXT    NOT NULL,
    feature    TEXT    NOT NULL,
    population INTEGER NOT NULL,
    lat        REAL    NOT NULL,
    lon        REAL    NOT NULL
  ) STRICT;
  CREATE INDEX cities_by_country ON cities (country, rank);

  CREATE VIRTUAL TABLE city_names USING fts5(name, plain, content='', tokenize='unicode61 remove_diacritics 2');
  CREATE VIRTUAL TABLE city_places USING rtree(rank, south, north, west, east);
`

/**
 * Data of users: created once, never dropped by a load. A note refers to its city by GeoNames ID without a foreign key, so
 * that it survives a load.
 */
export const peopleSql = `
  CREATE TABLE IF NOT EXISTS users (
    id         TEXT PRIMARY KEY,
    name       TEXT    NOT NULL,
    name_key   TEXT    NOT NULL UNIQUE,
    password   TEXT    NOT NULL,
    created_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE IF NOT EXISTS notes (
    city_id    INTEGER NOT NULL,
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    text       TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (city_id, user_id)
  ) STRICT, WITHOUT ROWID;
`
