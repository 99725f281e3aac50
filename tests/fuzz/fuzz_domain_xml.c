/* fuzz_domain_xml: a record of an agent's command topic -> validate -> plan -> domain XML.
 *
 * For any command that the agent carries on to the hypervisor the XML is well-formed, fits libvirt's
 * own schema, says what the command says and nothing more, and is read back as it was meant; and
 * the next start, with the hardware that was read, has such an XML too. */
#include <libxml/relaxng.h>
#include <libxml/xpath.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/model.h"
#include "common/base/uuid.h"
#include "common/bus/validate.h"
#include "services/host-agent/effect.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_message.h"

#define LIBVIRT_SCHEMA "/usr/share/libvirt/schemas/domain.rng"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlXPathContext, xmlXPathFreeContext)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlXPathObject, xmlXPathFreeObject)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlRelaxNGValidCtxt, xmlRelaxNGFreeValidCtxt)

static G_NORETURN void broken(const char *what, const char *xml)
{
    fprintf(stderr, "BROKEN: %s\n%s\n", what, xml);
    abort();
}

static xmlRelaxNG *schema_get(void)
{
    static xmlRelaxNG *schema;
    if (schema == NULL) {
        xmlRelaxNGParserCtxt *parser = xmlRelaxNGNewParserCtxt(LIBVIRT_SCHEMA);
        schema = xmlRelaxNGParse(parser);
        xmlRelaxNGFreeParserCtxt(parser);
        g_assert(schema != NULL);
    }
    return schema;
}

/* ---- The host */

static VbHost *host_get(void)
{
    static VbStorage local = {.ref = STORAGE_REF__INIT, .path = "/var/lib/virtbus"};
    static VbHostConfig config = {.host_uuid = "5a53c80c-04bd-5592-833c-97feb0f47d5b",
                                  .run_dir = "/run/virtbus",
                                  .log_dir = "/var/log/virtbus",
                                  .max_queues = 8};
    static VbHost host = {.config = &config};
    if (config.storages == NULL) {
        config.storages = g_ptr_array_new();
        local.ref.name = "fast";
        local.ref.type = STORAGE_TYPE_LOCAL;
        g_ptr_array_add(config.storages, &local);
    }
    return &host;
}

/* As the effect does once the host has shown a build of the wanted class and a sound file. FALSE:
 * refused. */
static gboolean plan_make(VbArena *arena, const HostVm *vm, VbStartPlan *start, VbDomainPlan *plan)
{
    VbHost *host = host_get();
    if (!start_plan_make(host, arena, vm, start, NULL)) {
        return FALSE;
    }
    const char *type = start->start->spec->domain_type;
    if (*type != '\0' && strcmp(type, "kvm") != 0 && strcmp(type, "qemu") != 0) {
        return FALSE;
    }
    FirmwareRef *firmware = NULL;
    if (start->class_ != NULL) {
        firmware = ARENA_MSG(arena, firmware_ref);
        firmware->class_ = start->class_;
        firmware->code_path = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    }
    *plan = (VbDomainPlan){
        .vm_uuid = vm->vm_uuid,
        .operation_id = vm->command->operation_id,
        .epoch = vm->command->epoch,
        .start = start->start,
        .domain_type = *type != '\0' ? type : "kvm",
        .firmware = firmware,
        .nvram_path = start->nvram != NULL ? volume_path(host, arena, start->nvram, NULL) : NULL,
        .volume_paths = start->volume_paths,
        .cdrom_paths = start->cdrom_paths,
        .socket_paths = start->socket_paths,
        .nics = start->nics,
        .serial_log_path = start->serial_log_path,
    };
    return TRUE;
}

/* ---- The judge */

static xmlDoc *parse(const char *xml)
{
    xmlDoc *doc = xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET);
    if (doc == NULL) {
        broken("the XML is not well-formed", xml);
    }
    g_autoptr(xmlRelaxNGValidCtxt) context = xmlRelaxNGNewValidCtxt(schema_get());
    if (xmlRelaxNGValidateDoc(context, doc) != 0) {
        broken("libvirt's schema refuses the XML", xml);
    }
    return doc;
}

static double number_at(xmlDoc *doc, const char *path)
{
    g_autoptr(xmlXPathContext) context = xmlXPathNewContext(doc);
    g_autoptr(xmlXPathObject) found = xmlXPathEvalExpression((const xmlChar *)path, context);
    return xmlXPathCastToNumber(found);
}

static gboolean text_is(xmlDoc *doc, const char *path, const char *text)
{
    g_autoptr(xmlXPathContext) context = xmlXPathNewContext(doc);
    g_autoptr(xmlXPathObject) found = xmlXPathEvalExpression((const xmlChar *)path, context);
    xmlChar *value = xmlXPathCastToString(found);
    gboolean same = strcmp((const char *)value, text) == 0;
    xmlFree(value);
    return same;
}

static void judge_content(const VbDomainPlan *plan, xmlDoc *doc, const char *xml)
{
    const VmSpec *spec = plan->start->spec;
    if (number_at(doc, "count(/domain/devices/disk)") != (double)(spec->n_disks + spec->n_cdroms) ||
        number_at(doc, "count(/domain/devices/interface)") != (double)spec->n_nics ||
        number_at(doc, "count(/domain/devices/tpm)") != (spec->tpm != NULL) ||
        number_at(doc, "count(/domain/os/nvram)") != (plan->nvram_path != NULL)) {
        broken("the XML has other devices than the command", xml);
    }
    g_autofree char *memory = g_strdup_printf("%" G_GUINT64_FORMAT, spec->memory_bytes);
    g_autofree char *vcpus = g_strdup_printf("%u", spec->vcpus);
    if (!text_is(doc, "string(/domain/title)", spec->name) ||
        !text_is(doc, "string(/domain/memory)", memory) ||
        !text_is(doc, "string(/domain/vcpu)", vcpus)) {
        broken("the XML has another name, memory or number of CPUs", xml);
    }
    if (spec->tpm != NULL && !text_is(doc, "string(//tpm/backend/@persistent_state)", "yes")) {
        broken("libvirt would delete the TPM's state", xml);
    }
    if (number_at(doc, "count(//interface[@type='vhostuser'] | //disk[@type='vhostuser'])") > 0 &&
        !text_is(doc, "string(/domain/memoryBacking/access/@mode)", "shared")) {
        broken("a vhost-user device has no shared memory", xml);
    }
}

/* What the agent will read of it again. */
static Hardware *judge_reading(VbArena *arena, const VbDomainPlan *plan, const char *xml)
{
    const VmSpec *spec = plan->start->spec;
    guint64 epoch = 0;
    if (!domain_xml_is_ours(xml, plan->vm_uuid, &epoch) || epoch != plan->epoch) {
        broken("the agent does not know its own domain", xml);
    }
    if (g_strcmp0(domain_xml_read_nvram(arena, xml), plan->nvram_path) != 0) {
        broken("another variable store is read than was written", xml);
    }
    Hardware *hardware = domain_xml_read_hardware(arena, xml, NULL);
    const NicType *types = domain_xml_read_nic_types(arena, xml);
    if (hardware == NULL || hardware->n_nics != spec->n_nics) {
        broken("other NICs are read than were written", xml);
    }
    for (size_t i = 0; i < spec->n_nics; i++) {
        if (hardware->nics[i]->index != spec->nics[i]->index ||
            g_ascii_strcasecmp(hardware->nics[i]->mac, plan->nics[i]->mac) != 0 ||
            types[i] != spec->nics[i]->type) {
            broken("a NIC is read as another one", xml);
        }
    }
    return hardware;
}

static void judge_start(VbArena *arena, const HostVm *vm)
{
    VbStartPlan start;
    VbDomainPlan plan;
    g_autoptr(GError) error = NULL;
    if (!plan_make(arena, vm, &start, &plan)) {
        return;
    }
    g_autofree char *xml = domain_xml_build(&plan, &error);
    if (xml == NULL) {
        g_assert(error != NULL);
        return;
    }
    g_autoptr(xmlDoc) doc = parse(xml);
    judge_content(&plan, doc, xml);
    Hardware *hardware = judge_reading(arena, &plan, xml);
    start_plan_complete(arena, &start, (FirmwareRef *)plan.firmware, hardware);
    StartDomain *next = arena_copy(arena, start.start);
    next->hardware = hardware;
    plan.start = next;
    g_autofree char *again = domain_xml_build(&plan, &error);
    if (again == NULL) {
        broken(error->message, xml);
    }
    xmlFreeDoc(parse(again));
}

/* One NIC for a running domain, as its interface among a domain's devices. */
static void judge_attach(VbArena *arena, const HostVm *vm)
{
    static const char frame[] = "<domain type='kvm'><name>vb</name><memory>1024</memory>"
                                "<os><type>hvm</type></os><devices>%s</devices></domain>";
    const AttachDevice *attach = vm->command->attach_device;
    VbHost *host = host_get();
    if (attach->nic == NULL || attach->spec == NULL) {
        return;
    }
    Hardware *running = attach->hardware != NULL ? attach->hardware : ARENA_MSG(arena, hardware);
    VbNicPlan plan = {.vm_uuid = vm->vm_uuid,
                      .nic = attach->nic,
                      .effective = nic_resolve(arena, vm->vm_uuid, attach->spec, attach->nic,
                                               model_nic(running, attach->nic->index),
                                               host->config->max_queues),
                      .place = domain_xml_free_place(arena, running)};
    if (attach->nic->type == NIC_TYPE_VHOST_USER) {
        plan.socket_path = socket_path(host, arena, vm->vm_uuid, attach->nic->index, NULL);
    }
    if (plan.place == NULL) {
        return;
    }
    g_autofree char *nic = domain_xml_build_nic(&plan, NULL);
    if (nic == NULL) {
        return;
    }
    g_autofree char *xml = g_strdup_printf(frame, nic);
    g_autoptr(xmlDoc) doc = parse(xml);
    if (number_at(doc, "count(/domain/devices/*)") != 1) {
        broken("the XML of a NIC is more than a NIC", xml);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const VbService agent = {.name = "host-agent"};
    g_autoptr(VbArena) arena = arena_new();
    HostCommand *peek = host_command__unpack(arena_allocator(arena, SIZE_MAX), size_bytes, data);
    if (peek == NULL || !uuid_is_valid(peek->vm_uuid)) {
        return 0;
    }
    VbBusRecord record = {.topic = TOPIC_HOST_COMMANDS,
                          .key = peek->vm_uuid,
                          .key_bytes = UUID_TEXT_BYTES - 1,
                          .value = data,
                          .value_bytes = size_bytes};
    VbJudgement judgement = validate_record(arena, &agent, &record, peek->vm_uuid);
    if (judgement.validity != VALIDITY_GOOD) {
        return 0;
    }
    HostVm *vm = host_vm_new(arena, peek->vm_uuid);
    vm->command = (HostCommand *)judgement.message;
    if (vm->command->command_case == HOST_COMMAND__COMMAND_START_DOMAIN) {
        judge_start(arena, vm);
    } else if (vm->command->command_case == HOST_COMMAND__COMMAND_ATTACH_DEVICE) {
        judge_attach(arena, vm);
    }
    return 0;
}

static const char *const words[] = {"fast",
                                    "default",
                                    "q35",
                                    "pc",
                                    "pc-q35-7.2",
                                    "kvm",
                                    "qemu",
                                    "br0",
                                    "</title>",
                                    "a&b<'\">",
                                    "disk/0",
                                    "nic/1",
                                    "pci",
                                    "drive",
                                    "scsi",
                                    "sata",
                                    "virtio",
                                    "e1000",
                                    "video",
                                    "vga",
                                    "::1",
                                    "127.0.0.1",
                                    "/run/x",
                                    "cdrom/0",
                                    "tpm/0",
                                    "x.iso",
                                    "controller/pci/1",
                                    "pcie-root-port",
                                    "\xff",
                                    "",
                                    "52:54:00:12:34:56",
                                    "Skylake,+a,-b",
                                    NULL};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size_bytes, size_t max_bytes, unsigned seed)
{
    size_t mutated = 0;
    if (seed % 16 != 0) {
        mutated =
            mutate_message(&host_command__descriptor, words, data, size_bytes, max_bytes, seed);
    }
    return mutated > 0 ? mutated : LLVMFuzzerMutate(data, size_bytes, max_bytes);
}
