// What @medplum/core sees of the endpoint; prints one JSON object.
import { MedplumClient } from "@medplum/core";

const [base, rest] = [process.argv[2].replace(/fhir$/, ""), "fhir"];
const client = new MedplumClient({ baseUrl: base, fhirUrlPath: rest, fetch, cacheTime: 0 });
const patient = await client.readResource("Patient", "p1");
const studies = await client.searchResources("ImagingStudy", { modality: "PT", patient: "Patient/p1" });
const one = await client.searchOne("Patient", "identifier=urn:hospital|H1");
const history = await client.readHistory("Device", "d1");
const version = await client.readVersion("Device", "d1", "1");
const everything = await client.readPatientEverything("p1");
const paged = [];
for await (const page of client.searchResourcePages("Observation", { _count: "3", _sort: "-date" })) {
  paged.push(...page.map((resource) => resource.id));
}
const missing = await client.readResource("Patient", "none").catch((error) => error.outcome);
console.log(
  JSON.stringify({
    family: patient.name[0].family,
    studies: studies.map((study) => study.id),
    one: one.id,
    history: history.total,
    version: version.status,
    everything: everything.entry.length,
    paged,
    missing: missing.issue[0].code,
  }),
);
