-- Put before a script that formats integers. Redis's Lua has integers of 64 bits in string.format, an engine in WebAssembly of 32: `%d` of a time in
-- milliseconds would be another number.
local string = setmetatable({ format = (function (format, gsub, find, floor, ceil)
  local function truncated (value)
    local number = tonumber(value)
    if not number then return nil end
    if number ~= number or number >= 2 ^ 63 or number < -2 ^ 63 then return -2 ^ 63 end
    return (number < 0 and ceil(number) or floor(number)) + 0
  end
  return function (text, ...)
    if type(text) ~= 'string' or not find(text, '%%[-+ #0-9]*[di]') then return format(text, ...) end
    local values, index = { ... }, 0
    local changed = gsub(text, '%%([-+ #0-9.]*)(.)', function (flags, kind)
      if kind == '%' then return nil end
      index = index + 1
      local number = (kind == 'd' or kind == 'i') and not find(flags, '.', 1, true) and truncated(values[index])
      if not number then return nil end
      values[index] = number
      return '%' .. flags .. '.0f'
    end)
    return format(changed, unpack(values, 1, select('#', ...)))
  end
end)(string.format, string.gsub, string.find, math.floor, math.ceil) }, { __index = string })
