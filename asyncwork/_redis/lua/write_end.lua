-- Shared by scripts with `-- include write_end`: writes how a job has ended to its record and to its stream.
-- seconds: for how long the record and the stream are kept; 0 if the job has none.
-- fields: those of the record, {name, value, …}. The first is its state.
-- include end_record
-- include end_stream
local function write_end(record, stream, id, record_seconds, stream_seconds, fields)
  if tonumber(record_seconds) > 0 then
    end_record(record, id, record_seconds, fields)
  end
  if tonumber(stream_seconds) > 0 then
    end_stream(stream, fields[2], stream_seconds)
  end
end
