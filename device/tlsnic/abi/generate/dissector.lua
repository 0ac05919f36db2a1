-- Everything below is the same for every interface. Lua 5.1 to 5.4.

local proto = Proto("tlsnic", "tlsnic trace record")

-- Fields ---------------------------------------------------------------------------------------

local MAKE = {[1] = ProtoField.uint8, [2] = ProtoField.uint16, [4] = ProtoField.uint32, [8] = ProtoField.uint64}
local SHOWN_IN_HEX = {address = true, handle = true, send_tag = true, flow = true, tls_version = true,
                      rss_hash = true, offset = true, value = true, value0 = true, value1 = true,
                      operand = true}

local all, by_abbreviation = {}, {}

-- One ProtoField per abbreviation: structures that share a member share its field.
local function field(kind, abbreviation, make)
  local known = by_abbreviation[abbreviation]
  if known then
    assert(known.kind == kind, abbreviation .. " is of two kinds")
    return known.field
  end
  local made = make(abbreviation)
  all[#all + 1] = made
  by_abbreviation[abbreviation] = {kind = kind, field = made}
  return made
end

local function text_field(abbreviation, name, description)
  return field("string", abbreviation, function(a) return ProtoField.string(a, name, base.UNICODE, description) end)
end

local function number_field(abbreviation, name, size, enum, description, in_hex)
  local known = enum and enums[enum]
  local kind = size .. (enum or "")
  return field(kind, abbreviation, function(a)
    if known and not known.flags then
      return MAKE[size](a, name, base.DEC, known.names, nil, description)
    end
    local hex = known or in_hex or SHOWN_IN_HEX[name]
    return MAKE[size](a, name, hex and base.HEX or base.DEC, nil, nil, description)
  end)
end

-- The bits of a set of flags: pairs of bit number and field, the lowest bit first.
local function flag_fields(abbreviation, enum)
  local known = enum and enums[enum]
  if not (known and known.flags) then return nil end
  local bits = {}
  for value, name in pairs(known.names) do
    local bit = 0
    while 2 ^ bit < value do bit = bit + 1 end
    bits[#bits + 1] = {
      bit = bit, name = name,
      field = field("bool", abbreviation .. "." .. name:lower(), function(a) return ProtoField.bool(a, name) end),
    }
  end
  table.sort(bits, function(one, other) return one.bit < other.bit end)
  return bits
end

-- Trace records of one group share abbreviations: trace_register_read is in tlsnic.register.
local function prefix_of(structure)
  if structure.kind ~= "trace" then return "tlsnic." .. structure.name end
  local group = structure.name:match("^trace_(%a+)")
  return group and "tlsnic." .. group or "tlsnic"
end

local common = {}
for _, member in ipairs(structures.trace and structures.trace.members or {}) do common[member[1]] = true end
local QUEUE = {queue = "tlsnic.queue.number", kind = "tlsnic.queue.kind"}

for _, structure in pairs(structures) do
  local prefix = prefix_of(structure)
  structure.decoded = {}
  for place, raw in ipairs(structure.members) do
    local name, offset, size, is_bytes, enum, description = raw[1], raw[2], raw[3], raw[4], raw[5], raw[6]
    local abbreviation = prefix .. "." .. name
    if structure.kind == "trace" then
      if common[name] then abbreviation = "tlsnic." .. name end
      abbreviation = QUEUE[name] or abbreviation
    end
    local member = {name = name, offset = offset, size = size, is_bytes = is_bytes, enum = enum}
    if is_bytes then
      member.field = field("bytes", abbreviation, function(a) return ProtoField.bytes(a, name, base.NONE, description) end)
    else
      member.field = number_field(abbreviation, name, size, enum, description)
      member.flags = flag_fields(abbreviation, enum)
    end
    structure.decoded[place] = member
  end
end

-- Registers by BAR and offset; a register of 8 bytes is there twice. What is wider than 32 bits and
-- no counter is an address.
local elements = {}
local is_counter = {}
for _, counter in ipairs(statistics.counters) do is_counter[counter[2]] = true end
for _, register in ipairs(registers) do
  register.decoded = {}
  for place, raw in ipairs(register.fields) do
    local name, lsb, bits, enum, description = raw[1], raw[2], raw[3], raw[4], raw[5]
    local abbreviation = "tlsnic.reg." .. register.name:lower() .. "." .. name:lower()
    local in_hex = bits > 32 and not is_counter[register.name]
    register.decoded[place] = {
      name = name, lsb = lsb, width = bits, enum = enum, in_hex = in_hex,
      field = number_field(abbreviation, name, bits > 32 and 8 or 4, enum, description, in_hex),
      flags = flag_fields(abbreviation, enum),
    }
  end
  local bar = elements[register.bar] or {}
  elements[register.bar] = bar
  for index = 0, register.count - 1 do
    local begin = register.offset + index * register.stride
    for at = begin, begin + register.size - 4, 4 do
      bar[at] = {register = register, index = index, begin = begin}
    end
  end
end

local register_name = text_field("tlsnic.register.name", "name", "Register at the offset.")
local register_index = field("4", "tlsnic.register.index", function(a)
  return ProtoField.uint32(a, "index", base.DEC, nil, nil, "Element of a register array.")
end)
local dma_structure = text_field("tlsnic.dma.structure", "structure", "What the bytes are.")
local dma_bytes = field("bytes", "tlsnic.dma.bytes", function(a) return ProtoField.bytes(a, "bytes") end)
local local_end = text_field("tlsnic.tls.local", "local", "Address and port of the driver's side.")
local remote_end = text_field("tlsnic.tls.remote", "remote", "Address and port of the other side.")
local mark = text_field("tlsnic.input.text", "text", "Text of a mark.")
local counters = {}
for _, counter in ipairs(statistics.counters) do
  counters[#counters + 1] = {offset = counter[1], name = counter[2],
                             field = number_field("tlsnic.statistics." .. counter[2]:lower(), counter[2], 8)}
end

proto.fields = all
local cut_short = ProtoExpert.new("tlsnic.cut_short", "Bytes are missing", expert.group.MALFORMED, expert.severity.WARN)
local unknown = ProtoExpert.new("tlsnic.unknown", "Nothing known is here", expert.group.UNDECODED, expert.severity.WARN)
proto.experts = {cut_short, unknown}

-- Values ---------------------------------------------------------------------------------------

local function bit_is_set(value, bit)
  return math.floor(value / 2 ^ bit) % 2 == 1
end

-- `low` and `high` are the halves of the value; returns the names of the set bits.
local function flag_names(bits, low, high)
  local names = {}
  for _, one in ipairs(bits) do
    local set = one.bit < 32 and bit_is_set(low, one.bit) or one.bit >= 32 and bit_is_set(high, one.bit - 32)
    if set then names[#names + 1] = one.name end
  end
  return table.concat(names, "|")
end

-- Adds one number with its flags; returns it as a short text, and whether it is 0.
local function add_number(tree, entry, range, low, high, value)
  local item = tree:add(entry.field, range, value)
  local zero = low == 0 and high == 0
  local bits = entry.flags
  if bits then
    local names = flag_names(bits, low, high)
    if names ~= "" then item:append_text(" (" .. names .. ")") end
    for _, one in ipairs(bits) do
      local set = one.bit < 32 and bit_is_set(low, one.bit) or one.bit >= 32 and bit_is_set(high, one.bit - 32)
      item:add(one.field, range, set)
    end
    if names ~= "" then return names, zero end
  elseif entry.enum and high == 0 then
    local name = enums[entry.enum].names[low]
    if name then return name, zero end
  end
  if SHOWN_IN_HEX[entry.name] or entry.in_hex or bits then
    if high == 0 then return string.format("0x%x", low), zero end
    return string.format("0x%x%08x", high, low), zero
  end
  return high == 0 and string.format("%d", low) or tostring(value), zero
end

-- Members that the name of a structure tells already.
local TYPES = {type = true, opcode = true}

-- Adds the members that are there. Returns their texts by name, a summary of those that are not 0,
-- and whether all of them were there.
local function add_structure(tree, tvb, at, limit, structure)
  local texts, shown = {}, {}
  for _, member in ipairs(structure.decoded) do
    local begin = at + member.offset
    if begin + member.size > limit then
      tree:add_proto_expert_info(cut_short, structure.title .. " is cut short")
      return texts, table.concat(shown, " "), false
    end
    local range = tvb(begin, member.size)
    if member.is_bytes then
      tree:add(member.field, range)
    else
      local low, high, value
      if member.size == 8 then
        value = range:le_uint64()
        low, high = value:lower(), value:higher()
      else
        value = range:le_uint()
        low, high = value, 0
      end
      local text, zero = add_number(tree, member, range, low, high, value)
      texts[member.name] = text
      local named = member.enum and not member.flags
      if (named or not zero) and not TYPES[member.name] then shown[#shown + 1] = member.name .. "=" .. text end
    end
  end
  return texts, table.concat(shown, " "), true
end

local function add_subtree(tree, tvb, at, limit, structure, label)
  local length = math.min(structure.size, limit - at)
  local item = tree:add(proto, tvb(at, length), label)
  item:add(dma_structure, structure.name):set_generated()
  local _, summary = add_structure(item, tvb, at, limit, structure)
  item:append_text(": " .. summary)
  return summary
end

-- Registers ------------------------------------------------------------------------------------

-- Decodes `width` bytes at `offset` of a BAR, whose value is in `range` of 8 bytes.
local function add_registers(tree, range, bar, offset, width)
  local value = range:le_uint64()
  local at, texts = offset, {}
  while at < offset + width do
    local element = (elements[bar] or {})[at - at % 4]
    if not element then return table.concat(texts, ", ") end
    local register = element.register
    local name = register.name
    if register.count > 1 then name = string.format("%s[%d]", name, element.index) end
    local item = tree:add(register_name, range, register.name):set_generated()
    if register.count > 1 then
      item:append_text(string.format("[%d]", element.index))
      item:add(register_index, range, element.index):set_generated()
    end
    -- Bits of the register that the access covers, and how far they are shifted in the value.
    local first = (at - element.begin) * 8
    local last = math.min(element.begin + register.size, offset + width) - element.begin
    last = last * 8
    local shift = (element.begin - offset) * 8
    local shown = {}
    for _, part in ipairs(register.decoded) do
      if part.lsb >= first and part.lsb + part.width <= last then
        local bits = value:rshift(part.lsb + shift)
        local low, high = bits:lower(), bits:higher()
        local text
        if part.width <= 32 then
          low = low % 2 ^ part.width
          text = add_number(item, part, range, low, 0, low)
        else
          high = high % 2 ^ (part.width - 32)
          text = add_number(item, part, range, low, high, UInt64.new(low, high))
        end
        shown[#shown + 1] = #register.decoded > 1 and part.name .. "=" .. text or text
      end
    end
    texts[#texts + 1] = name .. " " .. table.concat(shown, " ")
    at = element.begin + register.size
  end
  return table.concat(texts, ", ")
end

local function register_access(verb)
  return function(tree, tvb, limit, texts)
    local bar, width, offset = tvb(16, 1):le_uint(), tvb(17, 1):le_uint(), tvb(20, 4):le_uint()
    local what = string.format("BAR%d+0x%x %s", bar, offset, texts.value)
    if width >= 1 and width <= 8 then
      local known = add_registers(tree, tvb(24, 8), bar, offset, width)
      if known ~= "" then what = known end
    end
    return verb .. " " .. what
  end
end

-- Host memory ----------------------------------------------------------------------------------

local function by_number(kind, member)
  local numbered, generic = {}, nil
  for _, structure in pairs(structures) do
    if structure.kind == kind then
      if structure.opcode then numbered[structure.opcode] = structure else generic = structure end
    end
  end
  local offset, size
  for _, one in ipairs(generic and generic.members or {}) do
    if one[1] == member then offset, size = one[2], one[3] end
  end
  return {
    size = generic and generic.size,
    at = function(tvb, at, limit)
      if offset and at + offset + size <= limit then
        return numbered[tvb(at + offset, size):le_uint()] or generic
      end
      return generic
    end,
  }
end

local function always(name)
  local structure = structures[name]
  return structure and {size = structure.size, at = function() return structure end}
end

-- Entries of rings, by purpose and kind of queue.
local RINGS = {
  DESCRIPTOR = {TRANSMIT = always("tx_descriptor"), RECEIVE = always("rx_descriptor"),
                ADMIN = by_number("command", "opcode")},
  COMPLETION = {TRANSMIT = always("tx_completion"), RECEIVE = always("rx_completion"),
                ADMIN = by_number("response", "opcode"), EVENT = by_number("event", "type")},
}

-- Blocks, by whether the device writes them, and their length.
local BLOCKS = {[true] = {}, [false] = {}}
for name, written in pairs({tls_flow = false, tls_presync = false, tls_flow_state = true}) do
  if structures[name] then BLOCKS[written][structures[name].size] = structures[name] end
end

local function add_statistics(tree, tvb, at, limit)
  local item = tree:add(proto, tvb(at, limit - at), "counters")
  item:add(dma_structure, "statistics"):set_generated()
  for _, counter in ipairs(counters) do
    if at + counter.offset + 8 <= limit then
      item:add_le(counter.field, tvb(at + counter.offset, 8))
    end
  end
end

local function add_memory(tree, tvb, at, limit, written, texts)
  if at >= limit then return "" end
  local purpose, kind = texts.purpose, texts.kind
  local length = tvb(24, 4):le_uint()
  local entry = RINGS[purpose] and RINGS[purpose][kind]
  local summaries = {}
  if entry and entry.size then
    while at + entry.size <= limit do
      local structure = entry.at(tvb, at, limit)
      local summary = add_subtree(tree, tvb, at, limit, structure, structure.name)
      if #summaries < 4 then summaries[#summaries + 1] = structure.name .. " " .. summary end
      at = at + entry.size
    end
  elseif purpose == "BLOCK" then
    local structure = BLOCKS[written][length]
    if structure then
      local summary = add_subtree(tree, tvb, at, limit, structure, structure.name)
      return " " .. structure.name .. " " .. summary
    elseif written and statistics.size > 0 and length == statistics.size then
      add_statistics(tree, tvb, at, limit)
      return " statistics"
    end
  end
  if at < limit then tree:add(dma_bytes, tvb(at, limit - at)) end
  return #summaries > 0 and " " .. table.concat(summaries, "; ") or ""
end

local function memory_access(verb, written)
  return function(tree, tvb, limit, texts, flags, size)
    local what = verb .. " " .. texts.length .. " bytes at " .. texts.address
    if texts.purpose == "DESCRIPTOR" or texts.purpose == "COMPLETION" then
      what = string.format("%s %s, %s queue %s", verb, texts.purpose:lower(), texts.kind, texts.queue)
    elseif texts.purpose == "BLOCK" then
      what = what .. ", block"
    end
    if flags:find("FAULT", 1, true) then
      return what .. (flags:find("READ_ONLY", 1, true) and ": read-only" or ": not mapped")
    elseif flags:find("SECRET", 1, true) then
      if limit > size then tree:add(dma_bytes, tvb(size, limit - size)):append_text(" (sealed)") end
      return what .. ": key material"
    end
    return what .. add_memory(tree, tvb, size, limit, written, texts)
  end
end

-- The other records ----------------------------------------------------------------------------

local function interrupt(_, tvb, _, texts)
  if tvb(20, 1):le_uint() ~= 0 then return "MSI-X vector " .. texts.vector end
  return tvb(21, 1):le_uint() ~= 0 and "INTx asserted" or "INTx deasserted"
end

local function tls_packet(_, _, _, texts)
  local text = string.format("flow %s %s %s, sequence %s, %s bytes", texts.handle, texts.direction:lower(),
                             texts.outcome, texts.tcp_sequence, texts.length)
  if texts.direction == "RECEIVE" then
    text = string.format("%s, %s records ended; %s", text, texts.records, texts.tracker_state)
  end
  return text .. ", record " .. texts.record_number
end

local function address_text(range, version)
  if version == 4 then return tostring(range:range(0, 4):ipv4()) end
  return "[" .. tostring(range:ipv6()) .. "]"
end

local function tls_event(tree, tvb, _, texts)
  local text = string.format("flow %s %s %s", texts.handle, texts.direction:lower(), texts.event)
  local version = tvb(41, 1):le_uint()
  if version == 4 or version == 6 then
    local near = address_text(tvb(56, 16), version) .. ":" .. texts.local_port
    local far = address_text(tvb(72, 16), version) .. ":" .. texts.remote_port
    tree:add(local_end, tvb(56, 16), near):set_generated()
    tree:add(remote_end, tvb(72, 16), far):set_generated()
    if texts.event == "CREATED" then
      text = string.format("%s %s to %s, %s", text, near, far, texts.suite)
    end
  end
  if texts.event == "TRACKER" then
    text = string.format("%s %s to %s", text, texts.old_state, texts.new_state)
  elseif texts.question ~= "0" then
    text = text .. " question " .. texts.question
  end
  return string.format("%s, sequence %s, record %s", text, texts.tcp_sequence, texts.record_number)
end

local function input(tree, tvb, limit, texts, _, size)
  if limit > size then
    local range = tvb(size, limit - size)
    local text = range:string(ENC_UTF_8)
    tree:add(mark, range, text)
    return texts.input .. " " .. text
  end
  return string.format("%s argument %s, value %s", texts.input, texts.argument, texts.value)
end

local function frame(tree, tvb, limit, texts, _, size)
  if limit > size then tree:add(dma_bytes, tvb(size, limit - size)) end
  local way = texts.outbound ~= "0" and "sent" or "came"
  if texts.outbound ~= "0" and texts.taken == "0" then way = "refused" end
  return string.format("frame of %s bytes %s", texts.length, way)
end

local RECORDS = {
  trace_register_read = register_access("read"), trace_register_write = register_access("write"),
  trace_dma_read = memory_access("DMA read", false), trace_dma_write = memory_access("DMA write", true),
  trace_interrupt = interrupt, trace_tls_packet = tls_packet, trace_tls_event = tls_event,
  trace_input = input, trace_frame = frame,
}
local by_type = {}
for _, structure in pairs(structures) do
  if structure.kind == "trace" and structure.opcode then by_type[structure.opcode] = structure end
end

function proto.dissector(tvb, pinfo, tree)
  -- A snap length leaves less than the record had; what is not there must not be touched.
  local limit = tvb:len()
  if tvb.captured_len then limit = tvb:captured_len() end
  if limit == 0 then return 0 end
  pinfo.cols.protocol = "tlsnic"
  local item = tree:add(proto, tvb(0, limit))
  local structure = limit >= 2 and by_type[tvb(0, 2):le_uint()]
  if not structure then
    local _, _, whole = add_structure(item, tvb, 0, limit, structures.trace)
    if whole then item:add_proto_expert_info(unknown, "Unknown type of record") end
    pinfo.cols.info = "unknown record"
    return limit
  end
  local texts, _, whole = add_structure(item, tvb, 0, limit, structure)
  local summary = structure.title .. " (cut short)"
  if whole and limit >= structure.size then
    local describe = RECORDS[structure.name]
    summary = describe and describe(item, tvb, limit, texts, texts.flags, structure.size) or structure.title
  end
  item:append_text(", " .. summary)
  pinfo.cols.info = summary
  return limit
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, proto)
