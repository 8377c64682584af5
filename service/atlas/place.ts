import { PlaceError } from '../errors.ts'

/** A point on the globe, in degrees (WGS 84). */
export interface Place {
  lat: number
  lon: number
}

/** A box in degrees that does not cross the antimeridian: `west` is never east of `east`. */
interface Box {
  south: number
  north: number
  west: number
  east: number
}

const earthRadiusKm = 6371.0088
const kmPerDegree = earthRadiusKm * Math.PI / 180
const pattern = /^\s*([+-]?\d+(?:\.\d+)?)\s*,\s*([+-]?\d+(?:\.\d+)?)\s*$/

/**
 * Reads `lat,lon`.
 *
 * @throws {PlaceError} PRISM_ERR_PLACE if it is not a point on the globe.
 */
export function readPlace (text: string): Place {
  const [, lat = NaN, lon = NaN] = pattern.exec(text)?.map(Number) ?? []
  if (Math.abs(lat) <= 90 && Math.abs(lon) <= 180) return { lat, lon }
  throw new PlaceError(text)
}

/** Boxes that together contain every point within `radiusKm`: one, two across the antimeridian, or the whole cap over a pole. */
export function boxesAround ({ lat, lon }: Place, radiusKm: number): Box[] {
  const reach = radiusKm / kmPerDegree
  const south = Math.max(-90, lat - reach)
  const north = Math.min(90, lat + reach)
  const width = longitudeReach(lat, reach)
  if (width >= 180) return [{ south, north, west: -180, east: 180 }]

  const west = lon - width
  const east = lon + width
  if (west < -180) return [{ south, north, west: -180, east }, { south, north, west: west + 360, east: 180 }]
  if (east > 180) return [{ south, north, west, east: 180 }, { south, north, west: -180, east: east - 360 }]
  return [{ south, north, west, east }]
}

// The tangent meridians of a circle on a sphere are further out than its radius at the centre's latitude.
function longitudeReach (lat: number, reach: number): number {
  if (Math.abs(lat) + reach >= 90) return 180
  return degrees(Math.asin(Math.sin(radians(reach)) / Math.cos(radians(lat))))
}

/** Kilometres between two points along a great circle of a spherical earth (haversine). */
export function distanceKm (a: Place, b: Place): number {
  const lat = Math.sin(radians(b.lat - a.lat) / 2) ** 2
  const lon = Math.sin(radians(b.lon - a.lon) / 2) ** 2
  const haversine = lat + Math.cos(radians(a.lat)) * Math.cos(radians(b.lat)) * lon
  return 2 * earthRadiusKm * Math.asin(Math.min(1, Math.sqrt(haversine)))
}

/** The narrowest span that contains all `longitudes`; `west` is greater than `east` if it crosses the antimeridian (RFC 7946 section 5.2). */
export function longitudeSpan (longitudes: number[]): { west: number, east: number } {
  const sorted = longitudes.toSorted((a, b) => a - b)
  const first = sorted[0] ?? 0
  const last = sorted.at(-1) ?? 0
  let span = { west: first, east: last }
  let widest = first + 360 - last
  for (const [index, west] of sorted.entries()) {
    const east = sorted[index - 1]
    if (east === undefined || west - east <= widest) continue
    widest = west - east
    span = { west, east }
  }
  return span
}

function radians (angle: number): number {
  return angle * Math.PI / 180
}

function degrees (angle: number): number {
  return angle * 180 / Math.PI
}
