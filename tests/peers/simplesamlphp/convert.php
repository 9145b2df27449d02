<?php

/*
 * Reads a service provider's metadata from standard input with SimpleSAMLphp's own schema and parser, and
 * prints what it makes of it, as JSON: php convert.php SIMPLESAMLPHP
 */

require_once $argv[1] . '/lib/_autoload.php';

use SimpleSAML\Metadata\SAMLParser;
use SimpleSAML\Utils\XML;

$xml = trim(stream_get_contents(STDIN));
$valid = XML::isValid($xml, 'saml-schema-metadata-2.0.xsd');
if ($valid !== true) {
    fwrite(STDERR, "not valid: $valid\n");
    exit(1);
}
$found = [];
foreach (SAMLParser::parseDescriptorsString($xml) as $entity_id => $entity) {
    $found[$entity_id] = $entity->getMetadata20SP();
    unset($found[$entity_id]['entityDescriptor']);
}
echo json_encode($found, JSON_THROW_ON_ERROR), "\n";
