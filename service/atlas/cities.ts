import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite'
import { CityNotFoundError } from '../errors.ts'
import { boxesAround, distanceKm, readPlace, type Place } from './place.ts'
import { matchOf } from './spelling.ts'

/** A city; `id` is its GeoNames ID, `country` ISO 3166-1 alpha-2, `lat` and `lon` degrees. */
interface City extends Place {
  id: number
  name: string
  country: string
  /** First-level division of the country, GeoNames code. */
  admin: string
  /** GeoNames feature code: `PPLC` is a capital, `PPL` a populated place. */
  feature: string
  population: number
}

/** A city found by a search; `distanceKm` is set if the search has a place. */
export interface FoundCity extends City {
  distanceKm?: number
}

/** Search criteria; all are optional and narrow the result. */
export interface CitySearch {
  /** words of the name, or beginnings of words; accents and case are ignored */
  q?: string | undefined
  /** ISO 3166-1 alpha-2, any case. */
  country?: string | undefined
  /** `lat,lon` in degrees: sorts by distance; without it by population */
  near?: string | undefined
  limit: number
}

type Filter = { where: string[], values: Record<string, SQLInputValue> }

const columns = 'id, name, country, admin, feature, population, lat, lon'
const largest = 1000
const radiiKm = [50, 200, 800, 1600, 3200, 6400, Infinity]
// Monotonic in the distance from (:lat, :lon), so it sorts as the distance does.
const haversine = `(power(sin(radians(lat - :lat) / 2), 2)
  + cos(radians(:lat)) * cos(radians(lat)) * power(sin(radians(lon - :lon) / 2), 2))`

/** The cities of the atlas, by ID, name, country and place. */
export class Cities {
  readonly #database: DatabaseSync
  readonly #byId: StatementSync
  readonly #byRank: StatementSync
  readonly #statements = new Map<string, StatementSync>()

  /** @param database a loaded atlas */
  constructor (database: DatabaseSync) {
    this.#database = database
    this.#byId = database.prepare(`SELECT ${columns} FROM cities WHERE id = ?`)
    this.#byRank = database.prepare(`SELECT ${columns} FROM cities WHERE rank = ?`)
  }

  /** @throws {CityNotFoundError} PRISM_ERR_CITY_NOT_FOUND */
  find (id: number): City {
    const city = this.known(id)
    if (city === undefined) throw new CityNotFoundError(id)
    return city
  }

  /** One of the thousand largest cities. */
  random (): City {
    const row = this.#byRank.get(1 + Math.floor(Math.random() * largest))
    if (row === undefined) throw new CityNotFoundError(0)
    return cityOf(row)
  }

  /** The city of an ID that was valid earlier: a later load can have removed it. */
  known (id: number): City | undefined {
    const row = this.#byId.get(id)
    return row && cityOf(row)
  }

  /** Up to `limit` cities, by distance from `near` or by population. @throws {PlaceError} PRISM_ERR_PLACE */
  search ({ limit, near, ...rest }: CitySearch): FoundCity[] {
    const filter = filterOf(rest)
    if (near !== undefined) return this.#nearest(readPlace(near), limit, filter)
    return this.#select(filter, 'rank', limit)
  }

  // Grows the circle until it contains enough cities. With a filter the spatial index does not help: all matches can be far away.
  #nearest (place: Place, limit: number, filter: Filter): FoundCity[] {
    const radii = filter.where.length > 0 ? [Infinity] : radiiKm
    for (const radiusKm of radii) {
      const nearest = this.#select(within(place, radiusKm, filter), haversine, limit)
      const found = nearest.map((city) => ({ ...city, distanceKm: distanceKm(place, city) }))
      const complete = found.filter((city) => city.distanceKm <= radiusKm)
      if (complete.length === limit || radiusKm === Infinity) return found.map(rounded)
    }
    return []
  }

  #select ({ where, values }: Filter, order: string, limit: number): City[] {
    const condition = where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''
    const sql = `SELECT ${columns} FROM cities ${condition} ORDER BY ${order} LIMIT :limit`
    return this.#prepared(sql).all({ ...values, limit }).map(cityOf)
  }

  // Few forms of a search exist, so each statement is compiled once.
  #prepared (sql: string): StatementSync {
    const known = this.#statements.get(sql) ?? this.#database.prepare(sql)
    this.#statements.set(sql, known)
    return known
  }
}

function filterOf ({ q, country }: Pick<CitySearch, 'q' | 'country'>): Filter {
  const filter: Filter = { where: [], values: {} }
  if (q !== undefined) {
    filter.where.push('rank IN (SELECT rowid FROM city_names WHERE city_names MATCH :match)')
    filter.values.match = matchOf(q)
  }
  if (country !== undefined) {
    filter.where.push('country = :country')
    filter.values.country = country.toUpperCase()
  }
  return filter
}

function within (place: Place, radiusKm: number, { where, values }: Filter): Filter {
  const at = { ...values, lat: place.lat, lon: place.lon }
  if (radiusKm === Infinity) return { where, values: at }

  const bounds: Record<string, SQLInputValue> = {}
  const ranks = boxesAround(place, radiusKm).map((box, index) => {
    for (const [side, value] of Object.entries(box)) bounds[`${side}${index}`] = value
    return `SELECT rank FROM city_places WHERE south <= :north${index} AND north >= :south${index} AND west <= :east${index} AND east >= :west${index}`
  })
  return { where: [...where, `rank IN (${ranks.join(' UNION ')})`], values: { ...at, ...bounds } }
}

function rounded (city: City & { distanceKm: number }): FoundCity {
  return { ...city, distanceKm: Math.round(city.distanceKm * 10) / 10 }
}

function cityOf (row: Record<string, SQLOutputValue>): City {
  return {
    id: Number(row.id),
    name: String(row.name),
    country: String(row.country),
    admin: String(row.admin),
    feature: String(row.feature),
    population: Number(row.population),
    lat: Number(row.lat),
    lon: Number(row.lon)
  }
}
