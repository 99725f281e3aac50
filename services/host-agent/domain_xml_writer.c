/* A thin writer over libxml2: elements, attributes, text. It knows nothing of domains. Its calls
 * fail only without memory, which ends the process as everywhere. */
#include "services/host-agent/domain_xml_private.h"

#define CHARS(text) ((const xmlChar *)(text))

static void must(int result)
{
    if (result < 0) {
        g_error("libxml2 has no memory for a domain's XML");
    }
}

xmlTextWriter *domain_xml_writer_new(xmlBuffer *buffer)
{
    xmlTextWriter *out = xmlNewTextWriterMemory(buffer, 0);
    must(out != NULL ? 0 : -1);
    must(xmlTextWriterSetIndent(out, 1));
    must(xmlTextWriterSetIndentString(out, CHARS("  ")));
    return out;
}

static void start(VbDomainXml *xml, const char *name, va_list attributes)
{
    must(xmlTextWriterStartElement(xml->out, CHARS(name)));
    for (const char *key = va_arg(attributes, const char *); key != NULL;
         key = va_arg(attributes, const char *)) {
        const char *value = va_arg(attributes, const char *);
        if (value != NULL) {
            xml_attribute(xml, key, value);
        }
    }
}

void xml_open(VbDomainXml *xml, const char *name, ...)
{
    va_list attributes;
    va_start(attributes, name);
    start(xml, name, attributes);
    va_end(attributes);
}

void xml_leaf(VbDomainXml *xml, const char *name, ...)
{
    va_list attributes;
    va_start(attributes, name);
    start(xml, name, attributes);
    va_end(attributes);
    xml_close(xml);
}

void xml_text(VbDomainXml *xml, const char *name, const char *text, ...)
{
    va_list attributes;
    va_start(attributes, text);
    start(xml, name, attributes);
    va_end(attributes);
    must(xmlTextWriterWriteString(xml->out, CHARS(text)));
    xml_close(xml);
}

void xml_attribute(VbDomainXml *xml, const char *name, const char *value)
{
    must(xmlTextWriterWriteAttribute(xml->out, CHARS(name), CHARS(value)));
}

void xml_number(VbDomainXml *xml, const char *name, guint64 value)
{
    char text[24];
    g_snprintf(text, sizeof text, "%" G_GUINT64_FORMAT, value);
    xml_attribute(xml, name, text);
}

void xml_close(VbDomainXml *xml)
{
    must(xmlTextWriterEndElement(xml->out));
}
