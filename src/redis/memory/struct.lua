-- Put before a script that packs integers. Redis's Lua packs integers of up to 64 bits, an engine in WebAssembly of 32: integers of 5 to 8 bytes are
-- packed in two parts.
local struct = setmetatable((function (base, floor)
  local parsed = {}
  local function parse (text)
    local out, wide, index, isBig, isNeeded = {}, {}, 0, false, false
    for kind, size in string.gmatch(text, '(.)(%d*)') do
      local bytes = (kind == 'l' or kind == 'L' or kind == 'T') and 8 or tonumber(size) or 4
      if kind == '>' then isBig = true elseif kind == '<' or kind == '=' then isBig = false end
      if string.find(kind, '[iIlLT]') and bytes > 4 and bytes <= 8 then
        local high, isSigned = bytes - 4, kind == 'i' or kind == 'l'
        index, isNeeded = index + 1, true
        wide[index] = { isSigned = isSigned, limit = 2 ^ (8 * high), isBig = isBig }
        local highText = (isSigned and 'i' or 'I') .. high
        out[#out + 1] = isBig and highText .. 'I4' or 'I4' .. highText
      else
        if string.find(kind, '[bBhHiIfdscx]') and kind ~= 'x' then index = index + 1 end
        out[#out + 1] = kind .. size
      end
    end
    local format = { text = table.concat(out), wide = wide, count = index, isNeeded = isNeeded and not string.find(text, 'c0', 1, true) }
    parsed[text] = format
    return format
  end
  local function pack (text, ...)
    local format = parsed[text] or parse(text)
    if not format.isNeeded then return base.pack(text, ...) end
    local values, parts, count = { ... }, {}, 0
    for index = 1, format.count do
      local part, value = format.wide[index], values[index]
      local number = part and tonumber(value)
      if number then
        number = number < 0 and math.ceil(number) or floor(number)
        local high, low = floor(number / 2 ^ 32) % part.limit, number % 2 ^ 32
        parts[count + 1], parts[count + 2], count = part.isBig and high or low, part.isBig and low or high, count + 2
      elseif part then
        return base.pack(text, ...)
      else
        parts[count + 1], count = value, count + 1
      end
    end
    return base.pack(format.text, unpack(parts, 1, count))
  end
  local function unpackParts (text, ...)
    local format = parsed[text] or parse(text)
    if not format.isNeeded then return base.unpack(text, ...) end
    local parts, values, from = { base.unpack(format.text, ...) }, {}, 1
    for index = 1, format.count do
      local part = format.wide[index]
      if part then
        local high, low = parts[part.isBig and from or from + 1], parts[part.isBig and from + 1 or from]
        values[index], from = high * 2 ^ 32 + low, from + 2
      else
        values[index], from = parts[from], from + 1
      end
    end
    values[format.count + 1] = parts[from]
    return unpack(values, 1, format.count + 1)
  end
  return { pack = pack, unpack = unpackParts, size = function (text) return base.size((parsed[text] or parse(text)).text) end }
end)(struct, math.floor), { __index = struct })
