// What fhir-kit-client sees of the endpoint; prints one JSON object.
import { Client } from "fhir-kit-client";

const client = new Client({ baseUrl: process.argv[2] });
const ids = (bundle) => (bundle.entry ?? []).map((entry) => entry.resource.id);

const statement = await client.capabilityStatement();
const patient = await client.read({ resourceType: "Patient", id: "p1" });
const device = await client.vread({ resourceType: "Device", id: "d1", version: "1" });
const history = await client.history({ resourceType: "Device", id: "d1" });
const typeHistory = await client.typeHistory({ resourceType: "Device" });
const systemHistory = await client.systemHistory();
const found = await client.search({ resourceType: "ImagingStudy", searchParams: { modality: "PT", _include: "ImagingStudy:patient" } });
const posted = await client.search({ resourceType: "ImagingStudy", searchParams: { modality: "NM" }, options: { postSearch: true } });
const compartment = await client.compartmentSearch({ resourceType: "Observation", compartment: { resourceType: "Patient", id: "p1" } });
const everything = await client.operation({ name: "everything", resourceType: "Patient", id: "p1", method: "GET" });
let page = await client.search({ resourceType: "Observation", searchParams: { _count: "3" } });
const paged = [];
while (page) {
  paged.push(...ids(page));
  page = await client.nextPage({ bundle: page });
}
const missing = await client.read({ resourceType: "Patient", id: "none" }).catch((error) => error.response);
console.log(
  JSON.stringify({
    version: statement.fhirVersion,
    family: patient.name[0].family,
    firstStatus: device.status,
    histories: [history.total, typeHistory.total, systemHistory.type],
    found: ids(found),
    posted: ids(posted),
    compartment: compartment.total,
    everything: ids(everything).length,
    paged,
    missing: [missing.status, missing.data.resourceType],
  }),
);
