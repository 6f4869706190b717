// Encodes the strings of strings.json with the libraries of the standards' makers, and says what those
// libraries read in them. README.md says how to run it.
const { TCModel, TCString, GVL, PurposeRestriction, RestrictionType } = require("@iabtcf/core");
const now = require("@iabgpp/cmpapi");
const before = require("iabgpp-before"); // writes version 1 of the national section

const all = [];
const ten = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const eleven = [...ten, 11];
const when = new Date(Date.UTC(2026, 1, 3));

// A vendor list of some vendors who may do everything.
function vendors(policy) {
  const named = (ids) => Object.fromEntries(ids.map((id) => [id, { id, name: "n" + id, description: "", illustrations: [] }]));
  const list = {};
  for (const id of [1, 2, 3, 7, 28, 90, 91, 92, 93, 200, 755]) {
    list[id] = { id, name: "v" + id, purposes: [1, 3, 4, 5, 6], legIntPurposes: [2, 7, 8, 9, 10, 11], flexiblePurposes: [2, 7, 8, 9, 10, 11],
      specialPurposes: [], features: [], specialFeatures: [] };
  }
  return new GVL({ gvlSpecificationVersion: 3, vendorListVersion: 48, tcfPolicyVersion: policy, lastUpdated: "2026-01-08T16:00:00Z",
    purposes: named(eleven), specialPurposes: named([1, 2]), features: named([1, 2, 3]), specialFeatures: named([1, 2]), stacks: {}, vendors: list });
}

// tcf adds a TCF string; edit changes one in which everything is allowed.
function tcf(name, edit = () => {}, policy = 5) {
  const m = new TCModel(vendors(policy));
  m.cmpId = 31; m.cmpVersion = 4; m.consentScreen = 2; m.consentLanguage = "DE"; m.publisherCountryCode = "CH"; m.isServiceSpecific = true;
  m.policyVersion = policy;
  m.created = m.lastUpdated = when;
  m.purposeConsents.set(policy < 4 ? ten : eleven);
  m.purposeLegitimateInterests.set([2, 7, 8, 9, 10]);
  m.vendorConsents.set([1, 2, 3, 7, 28]);
  const options = edit(m) || {};
  const value = TCString.encode(m, options);
  const read = TCString.decode(value);
  const restrictions = [];
  for (const r of read.publisherRestrictions.getRestrictions()) restrictions.push([r.purposeId, r.restrictionType]);
  all.push({ name, kind: 1, value, policy: Number(read.policyVersion), purposes: [...read.purposeConsents.set_].sort((a, b) => a - b), restrictions });
  return value;
}

// gpp adds a GPP string of sections: prefix -> fields.
function gpp(name, sections, library = now) {
  const m = new library.GppModel();
  for (const [prefix, fields] of Object.entries(sections)) {
    for (const [field, v] of Object.entries(fields)) m.setFieldValue(prefix, field, v);
  }
  const value = m.encode();
  const read = new library.GppModel(value);
  const us = {};
  let eu;
  for (const id of read.getSectionIds()) {
    const prefix = library.Sections.SECTION_ID_NAME_MAP.get(id);
    const get = (field) => (read.hasField(prefix, field) ? read.getFieldValue(prefix, field) : undefined);
    if (id === 2) eu = { policy: get("PolicyVersion"), purposes: get("PurposeConsents").flatMap((yes, i) => (yes ? [i + 1] : [])) };
    if (id < 7) continue;
    us[id] = {
      optOuts: [get("SaleOptOut"), get("SharingOptOut"), get("TargetedAdvertisingOptOut")].filter((v) => v !== undefined),
      child: [get("KnownChildSensitiveDataConsents")].flat().filter((v) => v !== undefined),
      more: get("PersonalDataConsents") ?? get("AdditionalDataProcessingConsent") ?? 0,
      gpc: Boolean(get("Gpc")),
    };
  }
  all.push({ name, kind: 2, value, sections: read.getSectionIds(), eu, usp: read.hasSection("uspv1") ? read.encodeSection("uspv1") : undefined, us });
}

tcf("everything");
tcf("nothing", (m) => { m.unsetAllPurposeConsents(); m.unsetAllVendorConsents(); });
for (const n of eleven) tcf("all but " + n, (m) => m.purposeConsents.unset(n));
for (const n of eleven) tcf("only 1 and " + n, (m) => { m.purposeConsents.empty(); m.purposeConsents.set([1, n]); });
tcf("policy 2, which has no purpose 11", () => {}, 2);
tcf("purpose one treatment", (m) => { m.purposeOneTreatment = true; m.purposeConsents.unset(1); });
tcf("legitimate interests only", (m) => { m.purposeConsents.empty(); m.purposeConsents.set(1); m.purposeLegitimateInterests.set([2, 7, 8, 9, 10, 11]); });
tcf("vendors as a field of bits", (m) => { m.vendorConsents.set([90, 91, 92, 200]); m.vendorLegitimateInterests.set([1, 2, 3]); });
tcf("vendors as ranges", (m) => { m.vendorConsents.empty(); m.vendorConsents.set([1, 2, 3, 755]); m.vendorLegitimateInterests.set(755); });
tcf("no vendors", (m) => { m.unsetAllVendorConsents(); });
const restrict = (n, type, ids) => (m) => {
  for (const id of ids) m.publisherRestrictions.add(id, new PurposeRestriction(n, type));
};
tcf("not allowed for two vendors: 7", restrict(7, RestrictionType.NOT_ALLOWED, [2, 28]));
tcf("not allowed for a range of vendors: 9", restrict(9, RestrictionType.NOT_ALLOWED, [90, 91, 92, 93]));
tcf("consent required: 2", restrict(2, RestrictionType.REQUIRE_CONSENT, [1, 2]));
tcf("not allowed: 2, consent required: 7", (m) => { restrict(2, RestrictionType.NOT_ALLOWED, [1])(m); restrict(7, RestrictionType.REQUIRE_CONSENT, [3, 7])(m); });
tcf("with what was disclosed and what the publisher asks", (m) => {
  m.setAllVendorsDisclosed();
  m.publisherConsents.set([1, 2, 7]);
  m.numCustomPurposes = 3;
  m.publisherCustomConsents.set([2]);
});
tcf("not for this service alone", (m) => { m.isServiceSpecific = false; m.supportOOB = true; m.vendorsAllowed.set([1, 2]); m.setAllVendorsDisclosed(); return { isForVendors: true }; });

gpp("no section", {});
gpp("eu, all but 2", { tcfeuv2: { CmpId: 31, CmpVersion: 4, ConsentLanguage: "FR", PublisherCountryCode: "CH", PolicyVersion: 4,
  PurposeConsents: [...eleven.map((n) => n !== 2), ...Array(13).fill(false)], VendorConsents: [1, 2, 9, 40, 755], VendorLegitimateInterests: [3] } });
gpp("eu with nothing", { tcfeuv2: { CmpId: 31, ConsentLanguage: "EN", PublisherCountryCode: "AA" } });
gpp("canada", { tcfcav1: { CmpId: 31, ConsentLanguage: "EN" } });
for (const v of ["1---", "1YNN", "1YYN", "1NYY", "1YNY"]) gpp("usp " + v, { uspv1: { Version: 1, Notice: v[1], OptOutSale: v[2], LspaCovered: v[3] } });
const clear = { usnat: { SharingNotice: 1, SaleOptOutNotice: 1, SharingOptOutNotice: 1, TargetedAdvertisingOptOutNotice: 1, SaleOptOut: 2, SharingOptOut: 2,
  TargetedAdvertisingOptOut: 2, SensitiveDataProcessing: [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0], PersonalDataConsents: 2, MspaCoveredTransaction: 2 } };
const national = (edit) => ({ usnat: { ...clear.usnat, ...edit } });
gpp("national, nothing opted out of", national({}));
gpp("national, sale", national({ SaleOptOut: 1 }));
gpp("national, sharing", national({ SharingOptOut: 1 }));
gpp("national, targeted advertising", national({ TargetedAdvertisingOptOut: 1 }));
gpp("national, gpc", national({ Gpc: true }));
gpp("national, child without consent", national({ KnownChildSensitiveDataConsents: [0, 1, 0] }));
gpp("national, child with consent", national({ KnownChildSensitiveDataConsents: [2, 2, 2] }));
gpp("national, no more than disclosed", national({ PersonalDataConsents: 1 }));
const old = { SharingNotice: 1, SaleOptOutNotice: 1, SharingOptOutNotice: 1, TargetedAdvertisingOptOutNotice: 1, SaleOptOut: 1, SharingOptOut: 2,
  TargetedAdvertisingOptOut: 2, SensitiveDataProcessing: [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2], KnownChildSensitiveDataConsents: [0, 0],
  MspaCoveredTransaction: 1, MspaOptOutOptionMode: 1, MspaServiceProviderMode: 2 };
for (const [name, edit] of [["sale", {}], ["nothing opted out of", { SaleOptOut: 2 }], ["child without consent", { SaleOptOut: 2, KnownChildSensitiveDataConsents: [1, 0] }]]) {
  const m = { ...old, ...edit };
  gpp("national version 1, " + name, { usnat: m }, before);
}
for (const [id, prefix] of now.Sections.SECTION_ID_NAME_MAP) {
  if (id < 8 || id > 23) continue;
  gpp(prefix + ", nothing said", { [prefix]: { SaleOptOut: 0 } });
  gpp(prefix + ", nothing opted out of", { [prefix]: { SaleOptOutNotice: 1, SaleOptOut: 2, MspaCoveredTransaction: 2, MspaServiceProviderMode: 2 } });
  gpp(prefix + ", sale", { [prefix]: { SaleOptOutNotice: 1, SaleOptOut: 1 } });
  const m = new now.GppModel();
  m.setFieldValue(prefix, "SaleOptOut", 0);
  const last = m.hasField(prefix, "SharingOptOut") ? "SharingOptOut" : "TargetedAdvertisingOptOut";
  gpp(prefix + ", " + last, { [prefix]: { [last]: 1 } });
  const child = m.getFieldValue(prefix, "KnownChildSensitiveDataConsents");
  gpp(prefix + ", child without consent", { [prefix]: { KnownChildSensitiveDataConsents: Array.isArray(child) ? child.map((_, i) => (i === child.length - 1 ? 1 : 0)) : 1 } });
  const more = ["PersonalDataConsents", "AdditionalDataProcessingConsent"].find((f) => m.hasField(prefix, f));
  if (more) gpp(prefix + ", " + more, { [prefix]: { [more]: 1 } });
  if (m.hasField(prefix, "Gpc")) gpp(prefix + ", gpc", { [prefix]: { Gpc: true } });
}
gpp("maryland, which is not read", { usmd: { SaleOptOut: 2 } });
gpp("eu, usp, national and three states", { tcfeuv2: { CmpId: 31, ConsentLanguage: "EN", PublisherCountryCode: "AA", PolicyVersion: 5, PurposeConsents: Array(24).fill(true) },
  uspv1: { Version: 1, Notice: "Y", OptOutSale: "N", LspaCovered: "N" }, ...clear, usca: { SaleOptOut: 2 }, usva: { SaleOptOut: 2 }, usmn: { TargetedAdvertisingOptOut: 1 } });

console.log("[\n" + all.map((s) => JSON.stringify(s)).join(",\n") + "\n]");
