-- Sends each radiograph that Orthanc stores to `cxrcad listen`; the report comes back by C-STORE.
-- A report is no radiograph, so that nothing goes round in circles.
local radiographs = { CR = true, DX = true }

function OnStoredInstance(instanceId, tags, metadata, origin)
   if radiographs[tags['Modality']] then
      SendToModality(instanceId, 'cxrcad')
   end
end
