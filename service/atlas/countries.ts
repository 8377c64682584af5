import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { CountryNotFoundError } from '../errors.ts'
import { longitudeSpan } from './place.ts'

/** Summary of a country's cities. */
interface Country {
  /** ISO 3166-1 alpha-2. */
  code: string
  name: string
  cities: number
  /** population of all cities together */
  population: number
  medianPopulation: number
  capital: { id: number, name: string } | null
  largest: Array<{ id: number, name: string, population: number }>
  divisions: Array<{ code: string, cities: number, population: number }>
  /** degrees; `west` is greater than `east` if the country crosses the antimeridian */
  bounds: { south: number, north: number, west: number, east: number }
}

const largestCount = 10
const namesOfCountries = new Intl.DisplayNames(['en'], { type: 'region' })

/** The countries of the atlas, summarised from their cities on request: tens of milliseconds for a large one. */
export class Countries {
  readonly #cities: StatementSync

  /** @param database a loaded atlas */
  constructor (database: DatabaseSync) {
    this.#cities = database.prepare('SELECT id, name, admin, feature, population, lat, lon FROM cities WHERE country = ? ORDER BY rank')
  }

  /**
   * @param code ISO 3166-1 alpha-2, any case
   * @throws {CountryNotFoundError} PRISM_ERR_COUNTRY_NOT_FOUND
   */
  find (code: string): Country {
    const country = code.toUpperCase()
    const cities = this.#cities.all(country).map(townOf)
    if (cities.length === 0) throw new CountryNotFoundError(country)
    return summary(country, cities)
  }
}

type Town = ReturnType<typeof townOf>

function townOf (row: ReturnType<StatementSync['all']>[number]) {
  return {
    id: Number(row.id),
    name: String(row.name),
    admin: String(row.admin),
    feature: String(row.feature),
    population: Number(row.population),
    lat: Number(row.lat),
    lon: Number(row.lon)
  }
}

function summary (code: string, cities: Town[]): Country {
  const capital = cities.find((city) => city.feature === 'PPLC')
  return {
    code,
    name: namesOfCountries.of(code) ?? code,
    cities: cities.length,
    population: sum(cities),
    medianPopulation: cities[cities.length >> 1]?.population ?? 0,
    capital: capital ? { id: capital.id, name: capital.name } : null,
    largest: cities.slice(0, largestCount).map(({ id, name, population }) => ({ id, name, population })),
    divisions: divisions(cities),
    bounds: bounds(cities)
  }
}

function sum (cities: Town[]): number {
  return cities.reduce((total, city) => total + city.population, 0)
}

function divisions (cities: Town[]): Country['divisions'] {
  const byCode = Map.groupBy(cities, (city) => city.admin)
  return [...byCode]
    .map(([code, members]) => ({ code, cities: members.length, population: sum(members) }))
    .sort((a, b) => b.population - a.population)
}

function bounds (cities: Town[]): Country['bounds'] {
  const latitudes = cities.map((city) => city.lat)
  const { west, east } = longitudeSpan(cities.map((city) => city.lon))
  return { south: Math.min(...latitudes), north: Math.max(...latitudes), west, east }
}
