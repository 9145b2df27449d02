<?php

/* The service providers, as convert.php made them of their metadata, with the options of the run. */

require dirname(__DIR__) . '/config/config.php';

$metadata = $settings['service_providers'];
